//! Messages from one person to another, by way of a server (ROUTER) that knows everybody's name.

#[path = "../support/mod.rs"]
mod support;

use sinew::{Dealer, Message, Router, RoutingId, SendFailure};
use support::{joined, no_options, Result, PATIENCE};

const USAGE: &str = "usage: chat_private
Ann writes to Bob, by way of a server.";

fn main() -> Result {
    no_options(USAGE)?;
    let (router, endpoint) = Router::builder().bound("tcp://127.0.0.1:*")?;
    let server = std::thread::spawn(move || server(router));
    let join = |name: &str| -> Result<Dealer> {
        let dealer = Dealer::builder()
            .recv_timeout(PATIENCE)
            .routing_id(RoutingId::new(name)?);
        Ok(dealer.connect(&endpoint)?)
    };

    let mut ann = join("ann")?;
    ann.send(Message::multipart(["bob", "are you there?"]))?;
    show("ann", &ann.recv()?)?;

    // Bob writes to himself first: when that comes back, the server knows him.
    let mut bob = join("bob")?;
    bob.send(Message::multipart(["bob", "note to myself"]))?;
    show("bob", &bob.recv()?)?;

    ann.send(Message::multipart(["bob", "tea at four?"]))?;
    show("bob", &bob.recv()?)?;
    bob.send(Message::multipart(["ann", "gladly"]))?;
    show("ann", &ann.recv()?)?;

    bob.send("good night")?; // one frame alone ends the server of this example
    joined(server.join())
}

/// Passes on `[to, text]` as `[from, text]`. The name of the sender is that of its connection, which
/// only one peer can have at a time.
fn server(mut router: Router) -> Result {
    loop {
        let (from, message) = router.recv_from()?;
        let [to, text] = message.frames() else {
            return Ok(());
        };
        let passed_on = Message::multipart([from.as_bytes(), text]);
        // Without waiting: nobody is held up by another who does not read.
        if let Err(error) = router.try_send_to(to, passed_on) {
            let excuse = match error.reason() {
                SendFailure::Unroutable => "there is nobody of that name",
                _ => "not now, please",
            };
            // And if that cannot be sent either, so be it.
            let _ = router.try_send_to(&from, Message::multipart(["server", excuse]));
        }
    }
}

fn show(who: &str, message: &Message) -> Result {
    let [from, text] = message.frames() else {
        return Err(format!("expected two frames: {message:?}").into());
    };
    println!("to {who} from {}: {}", from.to_str()?, text.to_str()?);
    Ok(())
}
