//! What `mdp` loses and repeats, measured: its rows of the loss table.

use super::*;

/// The rows of the loss table: trouble for the workers, and trouble for the broker.
pub(crate) fn loss_rows() -> String {
    let workers = |town: &Town| town.workers.clone();
    let broker = |town: &Town| town.brokers.clone();
    let ours = |trouble: Trouble, seed| Plan {
        brokers: 1,
        calls: trouble.calls(100),
        ext: true,
        patience: Duration::from_secs(4),
        pause: trouble.pause(plan(seed).pause),
        asks: false,
        pick: Pick::LongestIdle,
        negotiates: false,
        ..plan(seed)
    };
    let plain = |trouble, seed| Plan {
        ext: false,
        dialect: Dialect::V1,
        ..ours(trouble, seed)
    };
    // Only a ROUTER has strangers.
    let not_of_workers = |trouble| trouble == Trouble::Malformed;
    // 7/MDP does not say which request a reply is to: one that comes twice is taken for that to the next.
    let not_of_plain = |trouble| trouble == Trouble::Replay;
    let mut table = rows("`mdp`, worker", |seed, trouble, tallies| {
        if !not_of_workers(trouble) {
            fare(seed, trouble, tallies, &ours(trouble, seed), workers);
        }
    });
    table += &rows("`mdp`, broker", |seed, trouble, tallies| {
        fare(seed, trouble, tallies, &ours(trouble, seed), broker);
    });
    table += &rows("`mdp`, all 7/MDP, worker", |seed, trouble, tallies| {
        if !not_of_workers(trouble) && !not_of_plain(trouble) {
            fare(seed, trouble, tallies, &plain(trouble, seed), workers);
        }
    });
    table += &rows("`mdp`, all 7/MDP, broker", |seed, trouble, tallies| {
        if !not_of_plain(trouble) {
            fare(seed, trouble, tallies, &plain(trouble, seed), broker);
        }
    });
    table
}

fn fare(
    seed: u64,
    trouble: Trouble,
    tallies: &mut Tallies,
    plan: &Plan,
    victims: impl Fn(&Town) -> Vec<NodeId>,
) {
    // With leases while heartbeats come, as by default.
    let mut town = build(seed * 3, plan);
    let victims = victims(&town);
    trouble.befall(&mut town.sim, &victims);
    town.settle(Duration::from_secs(60));
    let world = town.world.borrow();
    assert_eq!(
        world.results.len() as u64,
        plan.calls,
        "each call ends, seed {seed}"
    );
    for (number, result) in &world.results {
        let times = world.executed.get(number).copied().unwrap_or(0);
        tallies.note(world.asked[number], result, times);
    }
}
