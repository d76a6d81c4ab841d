import org.zeromq.ZContext;
import org.zeromq.ZMQ;
import org.zeromq.ZMsg;

/** A REP that echoes. */
class Rep {
    public static void main(String[] none) {
        try (ZContext context = new ZContext()) {
            ZMQ.Socket rep = context.createSocket(ZMQ.REP);
            System.out.println("tcp://127.0.0.1:" + rep.bindToRandomPort("tcp://127.0.0.1"));
            while (true) {
                ZMsg.recvMsg(rep).send(rep);
            }
        }
    }
}
