export const BROWSER = {
    open: (url, withCredentials) => new EventSource(url, { withCredentials }),
    wait,
    base: () => document.baseURI,
    now: () => Date.now(),
    random: Math.random,
};
/** A network that comes back cuts the wait short. */
function wait(milliseconds, callback) {
    const finish = () => {
        stop();
        callback();
    };
    const timer = setTimeout(finish, milliseconds);
    const stop = () => {
        clearTimeout(timer);
        removeEventListener("online", finish);
    };
    addEventListener("online", finish);
    return stop;
}
