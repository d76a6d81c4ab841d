//! `sinew proxy`: forwards between two sockets until it is told to stop.

use std::sync::mpsc::{channel, RecvTimeoutError};

use clap::ValueEnum;
use sinew::{Endpoint, Proxy, ProxyError, ProxySocket, Pub, Push, Rep};

use crate::args::{ProxyArgs, ProxyPair};
use crate::exit::Failure;
use crate::interrupt::{handle_first, writing};
use crate::report::Reporter;
use crate::sockets::build;

pub(crate) fn run(args: &ProxyArgs, reporter: &Reporter) -> Result<(), Failure> {
    check(args)?;
    // The kinds of the two are types of the library: each pair is its own proxy.
    macro_rules! forward {
        ($front:ident, $back:ident) => {
            forward!($front, $back, |_, _| Ok(()))
        };
        ($front:ident, $back:ident, $prepare:expr) => {
            forward!(
                sinew::$front::builder(),
                sinew::$back::builder(),
                $front,
                $back,
                $prepare
            )
        };
        ($front_builder:expr, $back_builder:expr, $front:ident, $back:ident, $prepare:expr) => {{
            let mut front = build($front_builder, &args.tuning)?;
            let mut back = build($back_builder, &args.tuning)?;
            let prepare: fn(&mut sinew::$front, &ProxyArgs) -> Result<(), Failure> = $prepare;
            prepare(&mut front, args)?;
            let mut bound = Bound::default();
            for endpoint in &args.front_bind {
                let real = front.bind(endpoint).map_err(Failure::new)?;
                bound.note("front", endpoint, real);
            }
            for endpoint in &args.front_connect {
                front.connect(endpoint).map_err(Failure::new)?;
            }
            for endpoint in &args.back_bind {
                let real = back.bind(endpoint).map_err(Failure::new)?;
                bound.note("back", endpoint, real);
            }
            for endpoint in &args.back_connect {
                back.connect(endpoint).map_err(Failure::new)?;
            }
            let proxy = Proxy::new(front, back).wait_for_full_peers(args.wait_for_full_peers);
            serve(proxy, bound, args, reporter)
        }};
    }
    match args.pair {
        ProxyPair::RouterDealer => forward!(Router, Dealer),
        ProxyPair::XsubXpub => forward!(
            sinew::XSub::builder(),
            sinew::XPub::builder().no_drop(args.no_drop),
            XSub,
            XPub,
            |_, _| Ok(())
        ),
        ProxyPair::PullPush => forward!(Pull, Push),
        ProxyPair::SubPub => forward!(
            sinew::Sub::builder(),
            sinew::Pub::builder().no_drop(args.no_drop),
            Sub,
            Pub,
            |sub, args| {
                if args.subscribe.is_empty() {
                    sub.subscribe("").map_err(Failure::new)?;
                }
                for topic in &args.subscribe {
                    sub.subscribe(topic).map_err(Failure::new)?;
                }
                Ok(())
            }
        ),
        ProxyPair::DealerDealer => forward!(Dealer, Dealer),
        ProxyPair::PairPair => forward!(Pair, Pair),
        ProxyPair::GatherScatter => forward!(Gather, Scatter),
        ProxyPair::ChannelChannel => forward!(Channel, Channel),
        ProxyPair::DishRadio => forward!(Dish, Radio, |dish, args| {
            let mut groups = args.group.iter();
            groups.try_for_each(|group| dish.join(group).map_err(Failure::usage))
        }),
        ProxyPair::StreamDealer => forward!(Stream, Dealer),
    }
}

/// What makes no sense for a pair.
fn check(args: &ProxyArgs) -> Result<(), Failure> {
    let given: [(&str, bool, &[ProxyPair]); 4] = [
        (
            "--no-drop",
            args.no_drop,
            &[ProxyPair::XsubXpub, ProxyPair::SubPub],
        ),
        (
            "--subscribe",
            !args.subscribe.is_empty(),
            &[ProxyPair::SubPub],
        ),
        (
            "--wait-for-full-peers",
            args.wait_for_full_peers,
            &[ProxyPair::RouterDealer, ProxyPair::StreamDealer],
        ),
        ("--group", !args.group.is_empty(), &[ProxyPair::DishRadio]),
    ];
    for (flag, is_given, pairs) in given {
        if is_given && !pairs.contains(&args.pair) {
            let pairs: Vec<_> = pairs.iter().map(name).collect();
            return Err(Failure::usage(format!(
                "{flag} is for {}, and not for {}",
                pairs.join(" and "),
                name(&args.pair)
            )));
        }
    }
    if args.pair == ProxyPair::DishRadio && args.group.is_empty() {
        return Err(Failure::usage(
            "dish-radio forwards nothing without a group, expected --group NAME",
        ));
    }
    for (side, bind, connect) in [
        ("front", &args.front_bind, &args.front_connect),
        ("back", &args.back_bind, &args.back_connect),
    ] {
        if bind.is_empty() && connect.is_empty() {
            return Err(Failure::usage(format!(
                "the {side} is nowhere, expected --{side}-bind URL or --{side}-connect URL"
            )));
        }
    }
    Ok(())
}

/// What a pair is called on the command line.
fn name(pair: &ProxyPair) -> String {
    let value = pair.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Where wildcards were bound: which side, and what they are in truth.
#[derive(Default)]
struct Bound(Vec<(&'static str, Endpoint)>);

impl Bound {
    fn note(&mut self, what: &'static str, given: &str, real: Endpoint) {
        if given != real.to_string() {
            self.0.push((what, real));
        }
    }

    fn tell(&self, reporter: &Reporter) {
        for (what, real) in &self.0 {
            let value = serde_json::json!({ "bound": real.to_string(), "side": what });
            reporter.note(&value, || format!("{what} bound to {real}"));
        }
    }
}

/// Forwards until it is told to stop, and closes everything.
fn serve<F: ProxySocket + 'static, B: ProxySocket + 'static>(
    mut proxy: Proxy<F, B>,
    mut bound: Bound,
    args: &ProxyArgs,
    reporter: &Reporter,
) -> Result<(), Failure> {
    if let Some(endpoint) = &args.capture_bind {
        let mut capture: Pub = build(Pub::builder(), &args.tuning)?;
        let real = capture.bind(endpoint).map_err(Failure::new)?;
        bound.note("capture", endpoint, real);
        proxy = proxy.capture(capture);
    }
    if let Some(endpoint) = &args.capture_connect {
        let mut capture: Push = build(Push::builder(), &args.tuning)?;
        capture.connect(endpoint).map_err(Failure::new)?;
        proxy = proxy.capture(capture);
    }
    if let Some(endpoint) = &args.control_bind {
        let mut control: Rep = build(Rep::builder(), &args.tuning)?;
        let real = control.bind(endpoint).map_err(Failure::new)?;
        bound.note("control", endpoint, real);
        proxy = proxy.control(control);
    }
    let handle = proxy.handle();
    let (pass_on, signals) = channel();
    handle_first({
        let handle = handle.clone();
        move |signal| {
            // Whoever is to be told may be done.
            let _ = pass_on.send(signal);
            handle.terminate();
        }
    })
    .map_err(Failure::new)?;
    // All is in place, signals too, when somebody reads that.
    bound.tell(reporter);
    let told = args.statistics.map(|every| {
        let (end, ended) = channel::<()>();
        let (handle, reporter) = (handle.clone(), reporter.aside());
        let thread = std::thread::spawn(move || {
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                reporter.statistics(&handle.statistics());
            }
        });
        (end, thread)
    });
    let report = proxy
        .run()
        .map_err(|error: ProxyError| Failure::usage(error))?;
    if let Some((end, thread)) = told {
        drop(end);
        // It prints and does nothing else that could fail.
        let _ = writing(|| thread.join());
        reporter.statistics(&report.statistics);
    }
    let closed = report.close();
    // Also one that came while it was being closed.
    let ended = signals
        .try_recv()
        .map_or(Ok(()), |signal| Err(Failure::Interrupted(signal)));
    reporter.closed(ended, closed)
}
