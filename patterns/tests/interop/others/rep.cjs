// A REP that echoes.
const { Reply } = require("zeromq");

(async () => {
  const rep = new Reply();
  await rep.bind("tcp://127.0.0.1:*");
  console.log(rep.lastEndpoint);
  for await (const request of rep) await rep.send(request);
})();
