// A worker of the service `echo` that knows two commands: it says READY once and never again, never heartbeats, and takes
// whatever comes for a request. It adds a frame that says who it is. Argument: the broker. Ends when its input does.
const { Dealer } = require("zeromq");

(async () => {
  const worker = new Dealer({ linger: 0 });
  worker.connect(process.argv[2]);
  process.stdin.resume();
  process.stdin.on("end", () => process.exit(0));
  await worker.send(["", "MDPW01", "\x01", "echo"]);
  for await (const [empty, header, command, client, gap, ...body] of worker) {
    if (empty.length || String(header) !== "MDPW01" || command[0] !== 2 || gap.length || !body.length) {
      console.log("no request:", String(header), command);
      process.exit(3);
    }
    await worker.send(["", "MDPW01", "\x03", client, "", ...body, "zeromq.js"]);
  }
})();
