import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.Map;
import org.zeromq.ZContext;
import org.zeromq.ZFrame;
import org.zeromq.ZMQ;
import org.zeromq.ZMsg;

/**
 * A broker: one request per worker, heartbeats to workers that are idle. Who is not known is sent away. Argument: where
 * to bind; prints it. Ends by being killed.
 */
class Broker {
    static final long BEAT = 100;
    static ZMQ.Socket router;

    static class Service {
        final Deque<ZFrame> idle = new ArrayDeque<>();
        final Deque<ZMsg> waiting = new ArrayDeque<>();

        /** What waits begins with who asks, and an empty frame. */
        void dispatch() {
            while (!idle.isEmpty() && !waiting.isEmpty()) {
                send(idle.remove(), 2, waiting.remove());
            }
        }
    }

    static void send(ZFrame worker, int command, ZMsg rest) {
        rest.addFirst(new byte[] {(byte) command});
        rest.addFirst("MDPW01");
        rest.addFirst("");
        rest.addFirst(worker.duplicate());
        rest.send(router);
    }

    static void check(boolean isTrue, String what) {
        if (!isTrue) {
            throw new IllegalStateException(what);
        }
    }

    public static void main(String[] arguments) {
        Map<String, Service> services = new HashMap<>();
        Map<String, String> known = new HashMap<>();
        try (ZContext context = new ZContext()) {
            router = context.createSocket(ZMQ.ROUTER);
            router.bind(arguments[0]);
            System.out.println(arguments[0]);
            ZMQ.Poller poller = context.createPoller(1);
            poller.register(router, ZMQ.Poller.POLLIN);
            long beat = System.currentTimeMillis();
            while (true) {
                if (poller.poll(BEAT / 2) > 0) {
                    take(ZMsg.recvMsg(router), services, known);
                }
                if (System.currentTimeMillis() - beat >= BEAT) {
                    beat = System.currentTimeMillis();
                    for (Service service : services.values()) {
                        for (ZFrame worker : service.idle) {
                            send(worker, 4, new ZMsg());
                        }
                    }
                }
            }
        }
    }

    static void take(ZMsg message, Map<String, Service> services, Map<String, String> known) {
        ZFrame who = message.pop();
        check(message.pop().size() == 0, "no empty frame");
        String header = message.popString();
        if (header.equals("MDPC01")) {
            String name = message.popString();
            check(!message.isEmpty(), "no body");
            message.addFirst("");
            message.addFirst(who);
            Service service = services.computeIfAbsent(name, any -> new Service());
            service.waiting.add(message);
            service.dispatch();
            return;
        }
        check(header.equals("MDPW01"), "another protocol");
        int command = message.pop().getData()[0];
        String worker = who.strhex();
        String name = known.get(worker);
        if (command == 1) {
            check(name == null && message.size() == 1, "ready twice, or of nothing");
            name = message.popString();
            known.put(worker, name);
            Service service = services.computeIfAbsent(name, any -> new Service());
            service.idle.add(who);
            service.dispatch();
        } else if (name == null) {
            if (command != 5) {
                send(who, 5, new ZMsg());
            }
        } else if (command == 3) {
            ZFrame client = message.pop();
            check(message.pop().size() == 0 && !message.isEmpty(), "no reply");
            message.addFirst(name);
            message.addFirst("MDPC01");
            message.addFirst("");
            message.addFirst(client);
            message.send(router);
            services.get(name).idle.add(who);
            services.get(name).dispatch();
        } else if (command == 5) {
            known.remove(worker);
            services.get(name).idle.removeIf(idle -> idle.strhex().equals(worker));
        } else {
            check(command == 4, "no command");
        }
    }
}
