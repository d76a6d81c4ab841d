// A broker in a few lines: one request per worker, and no heartbeats. Who is not known is sent away. Argument: where to
// bind; prints it. Ends by being killed.
const { Router } = require("zeromq");

(async () => {
  const router = new Router({ mandatory: false, linger: 0 });
  await router.bind(process.argv[2]);
  console.log(router.lastEndpoint);
  const services = new Map();
  const known = new Map();
  const named = (name) => {
    if (!services.has(name)) services.set(name, { idle: [], waiting: [] });
    return services.get(name);
  };
  const dispatch = async ({ idle, waiting }) => {
    while (idle.length && waiting.length) {
      const [client, body] = waiting.shift();
      await router.send([idle.shift(), "", "MDPW01", "\x02", client, "", ...body]);
    }
  };
  for await (const [who, empty, header, third, ...rest] of router) {
    const name = who.toString("latin1");
    if (empty.length) throw new Error("no empty frame");
    if (String(header) === "MDPC01") {
      if (!rest.length) throw new Error("no body");
      const service = named(String(third));
      service.waiting.push([who, rest]);
      await dispatch(service);
      continue;
    }
    if (String(header) !== "MDPW01") throw new Error("another protocol");
    const service = known.get(name);
    if (third[0] === 1) {
      if (service || rest.length !== 1) throw new Error("ready twice, or of nothing");
      known.set(name, String(rest[0]));
      named(String(rest[0])).idle.push(who);
      await dispatch(named(String(rest[0])));
    } else if (!service) {
      if (third[0] !== 5) await router.send([who, "", "MDPW01", "\x05"]);
    } else if (third[0] === 3) {
      const [client, gap, ...body] = rest;
      if (gap.length || !body.length) throw new Error("no reply");
      await router.send([client, "", "MDPC01", service, ...body]);
      named(service).idle.push(who);
      await dispatch(named(service));
    } else if (third[0] === 5) {
      known.delete(name);
      named(service).idle = named(service).idle.filter((worker) => !worker.equals(who));
    } else if (third[0] !== 4) {
      throw new Error("no command");
    }
  }
})();
