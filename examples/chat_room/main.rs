//! Chat rooms with a history (XPUB, XSUB): who comes late gets what was said before.
//!
//! One socket on each side does it all. A subscription to a room goes up, and so do lines; lines come
//! down. A message is `[room, name, text, name, text, …]`: one line, or the history.

#[path = "../support/mod.rs"]
mod support;

use std::collections::{HashMap, VecDeque};
use std::io::BufRead;

use sinew::{Frame, Message, SubscriptionEvent, ToEndpoint, XPub, XSub};
use support::{joined, misused, Options, Result, PATIENCE};

const USAGE: &str = "usage: chat_room [server ENDPOINT | join ENDPOINT ROOM NAME]
A server with rooms, or somebody who says what stands on the standard input, and prints what others
say. Without a role, three people talk here.";

/// Lines that are kept per room.
const HISTORY: usize = 100;

fn main() -> Result {
    match Options::new(USAGE).words()?.strs()[..] {
        [] => demonstration(),
        ["server", endpoint] => {
            let room = rooms().bind(endpoint)?;
            println!("{}", room.bound_endpoints()[0]);
            serve(room, false)
        }
        ["join", endpoint, room, name] => join(endpoint, room, name),
        _ => misused(USAGE),
    }
}

fn rooms() -> sinew::SocketBuilder<XPub> {
    XPub::builder()
        // What is sent right after a subscription came goes to that subscriber alone: the history.
        .manual_last_value(true)
        // Only the first frame may be a subscription. People may say what they like.
        .only_first_subscribe(true)
}

/// Serves for ever, or until the last person has left.
fn serve(mut xpub: XPub, until_empty: bool) -> Result {
    let mut history: HashMap<Frame, VecDeque<[Frame; 2]>> = HashMap::new();
    let mut people = 0;
    loop {
        match xpub.recv_event()? {
            SubscriptionEvent::Subscribed(room) => {
                people += 1;
                xpub.subscribe(&room)?;
                let said = history
                    .get(&Frame::from(&room))
                    .into_iter()
                    .flatten()
                    .flatten();
                xpub.send(Message::multipart(
                    [&Frame::from(room)].into_iter().chain(said),
                ))?;
            }
            SubscriptionEvent::Unsubscribed(room) => {
                people -= 1;
                xpub.unsubscribe(&room)?;
                // Goes to who has left, thus to nobody; the next message is for everyone again.
                xpub.send(&room)?;
                if people == 0 && until_empty {
                    return Ok(());
                }
            }
            SubscriptionEvent::Message(message) => {
                // Of another form: not from one of us.
                let Ok([room, name, text]) = <[Frame; 3]>::try_from(message.into_frames()) else {
                    continue;
                };
                xpub.send(Message::multipart([&room, &name, &text]))?;
                let lines = history.entry(room).or_default();
                lines.push_back([name, text]);
                if lines.len() > HISTORY {
                    lines.pop_front();
                }
            }
            _ => {}
        }
    }
}

/// Somebody in a room.
struct Person {
    socket: XSub,
    room: String,
    name: String,
}

impl Person {
    /// Comes in: the first message is the history.
    fn enter(endpoint: impl ToEndpoint, room: &str, name: &str) -> Result<Self> {
        let mut socket = XSub::builder().linger(PATIENCE).connect(endpoint)?;
        socket.subscribe(room)?;
        let (room, name) = (room.into(), name.into());
        Ok(Person { socket, room, name })
    }

    fn say(&mut self, text: &str) -> Result {
        Ok(self
            .socket
            .send(Message::multipart([&*self.room, &self.name, text]))?)
    }

    /// Waits for what is said, and prints it; how many lines there were.
    fn hear(&mut self) -> Result<usize> {
        let message = self.socket.recv()?;
        let lines = message.frames()[1..].chunks_exact(2);
        for line in lines.clone() {
            println!(
                "{} hears {}: {}",
                self.name,
                line[0].to_str()?,
                line[1].to_str()?
            );
        }
        Ok(lines.len())
    }
}

/// Hears with one socket, and speaks with another: each has a thread.
fn join(endpoint: &str, room: &str, name: &str) -> Result {
    let mut ears = Person::enter(endpoint, room, name)?;
    let mut mouth = XSub::builder().linger(PATIENCE).connect(endpoint)?;
    std::thread::spawn(move || -> Result {
        loop {
            ears.hear()?;
        }
    });
    for line in std::io::stdin().lock().lines() {
        mouth.send(Message::multipart([room, name, &line?]))?;
    }
    mouth.close();
    Ok(())
}

fn demonstration() -> Result {
    let (xpub, endpoint) = rooms().bound("tcp://127.0.0.1:*")?;
    let server = std::thread::spawn(move || serve(xpub, true));

    let mut ann = Person::enter(&endpoint, "tea", "ann")?;
    let nothing = ann.hear()?;
    ann.say("is there any tea?")?;
    ann.hear()?;
    let mut bob = Person::enter(&endpoint, "tea", "bob")?;
    let one = bob.hear()?;
    bob.say("there is")?;
    ann.hear()?;
    bob.hear()?;
    let mut cid = Person::enter(&endpoint, "tea", "cid")?;
    let two = cid.hear()?;

    drop((ann, bob, cid));
    joined(server.join())?;
    println!("lines of history: ann {nothing}, bob {one}, cid {two}");
    Ok(())
}
