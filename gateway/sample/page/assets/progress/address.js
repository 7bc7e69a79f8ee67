/**
 * Adds pairs to the query of a URL, relative or absolute, and leaves the rest as it is, to the
 * byte. A pair of the same name is replaced; one without a value is left out.
 */
export function withQuery(url, pairs) {
    const [, path = "", query = "", fragment = ""] = /^([^?#]*)(\?[^#]*)?(#.*)?$/s.exec(url) ?? [];
    const added = Object.entries(pairs).filter(([, value]) => value);
    const names = new Set(added.map(([name]) => name));
    const parts = [
        ...query
            .slice(1)
            .split("&")
            .filter((pair) => pair && !names.has(nameOf(pair))),
        ...added.map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value ?? "")}`),
    ];
    return path + (parts.length ? `?${parts.join("&")}` : "") + fragment;
}
const nameOf = (pair) => new URLSearchParams(pair).keys().next().value ?? "";
