//! A token server and its clients.

use std::time::Instant;

use sinew::Endpoint;

use super::roles::{FETCHED, LARGE, LEASE, RATE, SMALL};
use crate::majordomo::any_port;
use crate::remote::{Harm, Remote, Victim};

fn server(at: &Endpoint) -> (Remote, Endpoint) {
    Remote::bound("token server", at)
}

fn client(role: &str, at: &Endpoint) -> Remote {
    Remote::start(role, std::slice::from_ref(at))
}

/// FLW-01, FLW-03: servers that have minted are killed under clients who want more than there is. However often, they
/// have not taken more together than one server would have minted in all the time.
#[test]
fn token_servers_that_are_killed_mint_nothing_twice() {
    const EACH: u32 = 100;
    let begin = Instant::now();
    let (mut running, at) = server(&any_port());
    let mut clients = [(); 2].map(|()| client("closed client of large", &at));
    for client in &mut clients {
        client.tell(&format!("take {EACH}"));
    }
    for kill in 1..=3 {
        clients[0].says(&format!("took {}", kill * EACH / 4));
        running.kill();
        running = server(&at).0;
    }
    for client in &clients {
        client.says(&format!("took {EACH}"));
    }
    // A bucket is empty at first, so not even its burst comes on top.
    let minted = begin.elapsed().as_secs_f64() * RATE;
    let taken = f64::from(2 * EACH);
    assert!(taken <= minted, "{taken} of {minted}");
    // Had each server begun with a burst, that would have been enough for all at once.
    const { assert!(4 * LARGE > 2 * EACH) };
}

/// FLW-03: without a server each client does what it was told to do, as soon as the tokens of one lease are gone, and
/// obeys the server again when there is one.
#[test]
fn a_token_server_that_is_gone_or_frozen() {
    for harm in [Harm::Kill, Harm::Freeze] {
        let (mut victim, at) = Victim::bound("token server");
        let mut closed = client("closed client of large", &at);
        let mut open = client("open client of large", &at);
        for client in [&mut closed, &mut open] {
            client.tell("take 5");
            client.says("took 5");
        }
        victim.suffer(harm);
        // What the server had sent before may be on its way still.
        let mut drained = 0;
        loop {
            drained += told(&mut closed, "drain", "drained")
                .parse::<u32>()
                .unwrap();
            if told(&mut closed, "wait", "waited") == "false" {
                break;
            }
            drained += 1;
        }
        assert!(drained <= FETCHED, "{harm:?}: {drained}");
        // Far more than any server would have granted by now, unless the machine is very slow.
        open.tell("take 1000");
        open.says("took 1000");
        assert_eq!(told(&mut closed, "wait", "waited"), "false", "{harm:?}");
        victim.recover();
        closed.tell("take 5");
        closed.says("took 5");
        open.tell("reach");
        open.says("reached");
        // Were it still open, it would find no end.
        told(&mut open, "drain", "drained");
    }
}

/// A client that is killed, or frozen, with tokens: others are served, and what it had is void when its lease is over.
#[test]
fn token_clients_that_are_killed_and_frozen() {
    let begin = Instant::now();
    let (_server, at) = server(&any_port());
    let [mut killed, mut frozen, mut other] =
        [(); 3].map(|()| client("closed client of small", &at));
    for client in [&mut killed, &mut frozen] {
        client.tell("take 1");
        client.says("took 1");
    }
    killed.kill();
    frozen.freeze();
    // What may be there already, and what is minted in two leases.
    let many = SMALL + (RATE * 2.0 * LEASE.as_secs_f64()) as u32;
    other.tell(&format!("take {many}"));
    other.says(&format!("took {many}"));
    frozen.thaw();
    assert_eq!(told(&mut frozen, "drain", "drained"), "0");
    // It is served like anybody else.
    frozen.tell("take 5");
    frozen.says("took 5");
    let minted = begin.elapsed().as_secs_f64() * RATE;
    assert!(f64::from(many + 7) <= minted, "{many} of {minted}");
}

/// What it says with this word when it is told this.
fn told(remote: &mut Remote, order: &str, word: &str) -> String {
    remote.tell(order);
    remote.says(word)
}
