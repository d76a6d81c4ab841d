//! Waiting for two sockets at once: with a poller, and in a task.

#[path = "../support/mod.rs"]
mod support;

use futures::{select, FutureExt};
use sinew::{Interest, PollItem, Poller, Pub, Pull, Push, Sub};
use support::{no_options, Result, PATIENCE};

const USAGE: &str = "usage: poll_two
Receives tasks and news, in whatever order they come, twice over.";

const EACH: usize = 3;

fn main() -> Result {
    no_options(USAGE)?;
    let (mut push, tasks) = Push::builder().bound("tcp://127.0.0.1:*")?;
    let (mut publisher, news) = Pub::builder().bound("ipc://*")?;
    let mut pull = Pull::builder().connect(&tasks)?;
    let mut sub = Sub::new();
    sub.subscribe("")?;
    sub.connect(&news)?;
    publisher.wait_for_subscribers(1, PATIENCE)?;
    let mut send = || -> Result {
        (0..EACH).try_for_each(|_| push.send("task"))?;
        Ok((0..EACH).try_for_each(|_| publisher.send("news"))?)
    };

    send()?;
    let polled = with_a_poller(&mut pull, &mut sub)?;
    send()?;
    let selected = futures::executor::block_on(in_a_task(&mut pull, &mut sub))?;
    println!("poller: {polled:?}");
    println!("task:   {selected:?}");
    Ok(())
}

/// How many tasks and news came.
fn with_a_poller(pull: &mut Pull, sub: &mut Sub) -> Result<[usize; 2]> {
    let (mut poller, mut came) = (Poller::new()?, [0, 0]);
    while came != [EACH, EACH] {
        let mut items = [
            PollItem::socket(pull, Interest::READABLE),
            PollItem::socket(sub, Interest::READABLE),
        ];
        let events = poller.wait(&mut items, Some(PATIENCE))?;
        // Readiness is a state: what is not taken now is told again.
        if events.is_readable(0) {
            came[0] += usize::from(pull.recv()?.as_bytes() == b"task");
        }
        if events.is_readable(1) {
            came[1] += usize::from(sub.recv()?.as_bytes() == b"news");
        }
    }
    Ok(came)
}

async fn in_a_task(pull: &mut Pull, sub: &mut Sub) -> Result<[usize; 2]> {
    let mut came = [0, 0];
    while came != [EACH, EACH] {
        // The one that is not ready is dropped, and has taken nothing.
        select! {
            task = pull.recv_async().fuse() => came[0] += usize::from(task?.as_bytes() == b"task"),
            news = sub.recv_async().fuse() => came[1] += usize::from(news?.as_bytes() == b"news"),
        }
    }
    Ok(came)
}
