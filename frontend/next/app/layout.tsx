import type { Metadata } from "next";
import type { ReactNode } from "react";
import "gateway-progress/style.css";

export const metadata: Metadata = { title: "Progress of a job", icons: "data:," };

export default function Layout({ children }: { readonly children: ReactNode }) {
  return (
    <html lang="en">
      <body>
        <main>{children}</main>
      </body>
    </html>
  );
}
