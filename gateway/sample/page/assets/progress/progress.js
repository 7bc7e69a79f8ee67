const STATUSES = ["processing", "completed", "error"];
/**
 * Reads a report; null where it is none: not JSON, not an object, or of a status unknown here.
 * What is missing or of a wrong type in a report is filled in: `last` is the percent so far.
 */
export function parseProgress(text, last = 0) {
    const report = parseObject(text);
    if (report === null || !STATUSES.includes(report.status))
        return null;
    const status = report.status;
    return {
        status,
        progress: status === "completed" ? 100 : percent(report.progress, last),
        message: string(report.message),
        step: string(report.step),
        ...(report.data == null ? {} : { data: report.data }),
    };
}
/** The code that the gateway gives in `data` where it was the gateway that ended the stream. */
export function gatewayCode({ status, step, data }) {
    if (status !== "error" || step !== "gateway" || !isObject(data))
        return null;
    return typeof data.code === "string" ? data.code : null;
}
function parseObject(text) {
    try {
        const value = JSON.parse(text);
        return isObject(value) ? value : null;
    }
    catch {
        return null;
    }
}
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const percent = (value, last) => typeof value === "number" ? Math.min(Math.max(value, 0), 100) : last;
const string = (value) => (typeof value === "string" ? value : "");
