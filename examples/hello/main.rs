//! Request and reply (REQ, REP), in lock-step.

#[path = "../support/mod.rs"]
mod support;

use sinew::{Rep, Req, ToEndpoint};
use support::{joined, misused, Options, Result, PATIENCE};

const USAGE: &str = "usage: hello [--requests N] [server ENDPOINT | client ENDPOINT]
Without a role both sides run here, over tcp; N (3) requests are sent, or answered.";

fn server(mut rep: Rep, requests: u64) -> Result {
    println!("{}", rep.bound_endpoints()[0]);
    for _ in 0..requests {
        let request = rep.recv()?;
        rep.send([request.as_bytes(), b" World"].concat())?;
    }
    rep.close(); // waits until the last reply is sent
    Ok(())
}

fn client(endpoint: impl ToEndpoint, requests: u64) -> Result {
    let mut req = Req::builder().connect(endpoint)?;
    for turn in 1..=requests {
        // The server need not be there yet: the request waits for it, at most this long.
        let reply = req.request_timeout("Hello", PATIENCE)?;
        println!("{turn}: {}", reply.to_str()?);
    }
    Ok(())
}

fn main() -> Result {
    let mut options = Options::new(USAGE);
    let requests = options.count("--requests", 3)?;
    match options.words()?.strs()[..] {
        [] => {
            let (rep, endpoint) = Rep::builder().bound("tcp://127.0.0.1:*")?;
            let server = std::thread::spawn(move || server(rep, requests));
            client(endpoint, requests)?;
            joined(server.join())
        }
        ["server", endpoint] => server(Rep::builder().bind(endpoint)?, requests),
        ["client", endpoint] => client(endpoint, requests),
        _ => misused(USAGE),
    }
}
