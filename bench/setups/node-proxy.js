// node proxy.js PORT EVENTS FILES: http-proxy as its manual has it, with connections kept.
const http = require('http');
const httpProxy = require('http-proxy');

const [port, events, files] = process.argv.slice(2);
const agent = new http.Agent({keepAlive: true});
const proxy = httpProxy.createProxyServer({agent});
// http-proxy waits for an event that Node no longer sends: without this, a browser that leaves
// would leave its stream open at the service.
proxy.on('proxyReq', (request, _, response) => response.on('close', () => request.destroy()));
proxy.on('error', (error, _, response) => response.destroy(error));

const server = http.createServer((request, response) => {
  const isFile = request.url.startsWith('/json') || request.url.startsWith('/files');
  proxy.web(request, response, {target: `http://127.0.0.1:${isFile ? files : events}`});
});
server.requestTimeout = 0;
server.listen({port: Number(port), host: '127.0.0.1', backlog: 4096});
