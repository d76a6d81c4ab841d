//! Who writes what is sent: the sender, the I/O thread, and one after the other.

use super::*;

/// A sending half.
struct Sender {
    writer: Writer,
    /// As far as it has been told.
    link: Arc<Link>,
}

impl Sender {
    fn send(&mut self, burst: bool) {
        self.writer.append_wire(&[0, 0], 1, false);
        if self.writer.publish() && !writing::see_off(&*self.link, burst) {
            self.writer.signal();
        }
    }

    /// Waits for room in the kernel, which may come or not. `meanwhile`: while it has the out-pump.
    fn write_all(&mut self, meanwhile: impl FnOnce()) {
        let link = &*self.link;
        let visit = link.output.try_visit(|pump| {
            if pump.run(link) == OutOutcome::Blocked {
                link.reading.want_write(link, false);
                thread::yield_now();
            }
            let outcome = pump.run_for_sender(link);
            meanwhile();
            outcome
        });
        let Some((outcome, missed)) = visit else {
            return;
        };
        writing::wrote_on(link, outcome);
        if missed {
            writing::write_on(link);
        }
    }
}

/// A connection in the hands of its I/O thread, and the half that sends to it.
fn sending(room: usize, may_be_dense: bool) -> (Arc<Socket>, IoThread, Sender) {
    let tuning = Tuning {
        may_be_dense,
        ..TINY
    };
    let (writer, reader) = pipe(UNLIMITED, tuning);
    let socket = Socket::new(room, &Written::new());
    let link = Link::new(1, &Home::new(), &socket, SHORT_READS);
    Link::open_output(&link, reader);
    let mut io = IoThread::new(&link, &Port::new(&link));
    io.hot.heat(Arc::clone(&link));
    (socket, io, Sender { writer, link })
}

/// Messages that are written by the sender, or left to the I/O thread.
fn messages_are_written(preemptions: usize, bursts: [bool; 3], dense: bool) {
    check(preemptions, move || {
        let (socket, io, mut sender) = sending(usize::MAX, dense);
        let home = Arc::clone(&io.home);
        let io = thread::spawn(move || io.run());
        for burst in bursts {
            sender.send(burst);
        }
        socket.1.wait_for(bursts.len());
        home.post(Command::Stop);
        io.join().unwrap();
    });
}

#[test]
fn loom_messages_in_lock_step_are_written() {
    messages_are_written(3, [false; 3], false);
}

#[test]
fn loom_messages_in_a_burst_are_written() {
    messages_are_written(3, [true; 3], false);
    messages_are_written(3, [false, true, true], false);
}

#[test]
fn loom_messages_in_a_dense_burst_are_written() {
    messages_are_written(3, [true; 3], true);
}

/// What the sender leaves to the I/O thread it writes itself all the same when there is enough of it.
fn a_batch_is_written(preemptions: usize, more_to_come: bool) {
    check(preemptions, move || {
        let (socket, io, mut sender) = sending(1, false);
        let home = Arc::clone(&io.home);
        let io = thread::spawn(move || io.run());
        let messages = if more_to_come { 4 } else { 2 };
        sender.send(true);
        sender.send(true);
        writing::write_on(&*sender.link);
        socket.make_room(3);
        if more_to_come {
            sender.send(true);
            writing::write_on(&*sender.link);
            sender.send(true);
        }
        socket.1.wait_for(messages);
        home.post(Command::Stop);
        io.join().unwrap();
    });
}

#[test]
fn loom_messages_in_a_batch_are_written() {
    a_batch_is_written(3, false);
    a_batch_is_written(2, true);
}

/// A sender that has no room writes what there is, also while it waits for the kernel.
fn messages_are_written_by_who_waits(preemptions: usize, goes_on: bool) {
    check(preemptions, move || {
        let (socket, io, mut sender) = sending(1, false);
        let home = Arc::clone(&io.home);
        let io = thread::spawn(move || io.run());
        let peer = {
            let socket = Arc::clone(&socket);
            thread::spawn(move || socket.make_room(2))
        };
        sender.send(true);
        sender.send(true);
        sender.write_all(|| {});
        let mut messages = 2;
        if goes_on {
            sender.send(true);
            messages += 1;
        }
        socket.1.wait_for(messages);
        home.post(Command::Stop);
        peer.join().unwrap();
        io.join().unwrap();
    });
}

#[test]
fn loom_messages_are_written_by_who_waits_for_room() {
    messages_are_written_by_who_waits(3, false);
    messages_are_written_by_who_waits(2, true);
}

/// The I/O thread looks at everything, such as control frames to send, meanwhile: what it leaves to the sender and what
/// the sender leaves to it is written.
#[test]
fn loom_messages_are_written_though_the_io_thread_looks_at_the_connection() {
    check(3, || {
        let (socket, io, mut sender) = sending(4, false);
        let home = Arc::clone(&io.home);
        let io = thread::spawn(move || io.run());
        sender.send(true);
        sender.write_all(|| {
            // The I/O thread finds it at work, and sleeps until it is asked to look.
            thread::yield_now();
            thread::yield_now();
            home.post(Command::Attend(1));
        });
        sender.send(true);
        socket.1.wait_for(2);
        home.post(Command::Stop);
        io.join().unwrap();
    });
}

/// The kernel takes one message at a time.
#[test]
fn loom_a_message_refused_is_written_when_there_is_room() {
    check(3, || {
        let (socket, io, mut sender) = sending(1, false);
        let home = Arc::clone(&io.home);
        let io = thread::spawn(move || io.run());
        let peer = {
            let socket = Arc::clone(&socket);
            thread::spawn(move || socket.make_room(1))
        };
        sender.send(false);
        sender.send(false);
        socket.1.wait_for(2);
        home.post(Command::Stop);
        peer.join().unwrap();
        io.join().unwrap();
    });
}

/// One descriptor, watched for both: a request that the kernel refuses at first, and its reply.
#[test]
fn loom_a_request_is_written_and_its_reply_read() {
    check(2, || {
        let (socket, mut io, mut sender) = sending(0, false);
        let (writer, reader) = pipe(UNLIMITED, TINY);
        sender.link.open_input(writer);
        let mut caller = Caller::new(&io.port, reader);
        let home = Arc::clone(&io.home);
        io.looks = 1;
        let io = thread::spawn(move || io.run());
        let peer = thread::spawn(move || {
            socket.make_room(1);
            socket.1.wait_for(1);
            socket.arrive(1);
        });
        sender.send(false);
        assert!(caller.recv());
        home.post(Command::Stop);
        peer.join().unwrap();
        io.join().unwrap();
    });
}

/// The connection is lost at any moment; the sender learns of it only later.
fn a_sender_outlives_a_connection(preemptions: usize, burst: bool) {
    check(preemptions, move || {
        let (lost, mut io, mut sender) = sending(usize::MAX, false);
        let socket = Socket::new(usize::MAX, &lost.1);
        let home = Arc::clone(&io.home);
        io.next = Some(Link::new(2, &home, &socket, SHORT_READS));
        let io = thread::spawn(move || io.run());
        let peer = {
            let home = Arc::clone(&home);
            thread::spawn(move || home.post(Command::Close))
        };
        sender.send(burst);
        sender.send(burst);
        lost.1.wait_for(2);
        home.post(Command::Stop);
        peer.join().unwrap();
        io.join().unwrap();
    });
}

#[test]
fn loom_messages_in_lock_step_reach_the_connection_that_replaces_another() {
    a_sender_outlives_a_connection(3, false);
}

#[test]
fn loom_a_burst_reaches_the_connection_that_replaces_another() {
    a_sender_outlives_a_connection(2, true);
}
