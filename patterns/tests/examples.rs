//! The examples of this package, run as a stranger runs them; those with `--chaos` also with it.
//! `EXAMPLE_SCHEDULES=50` puts them through as many schedules of disaster.

#[allow(dead_code, reason = "shared with the tests of the core's examples")]
#[path = "../../tests/support/examples.rs"]
mod examples;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "../../tests/support/process.rs"]
mod process;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use examples::{example, Example};

#[test]
fn every_example_prints_what_its_readme_says() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let index = package.join("../docs/examples.md");
    let longer = [
        "lazy_pirate",
        "majordomo",
        "majordomo_interop",
        "metrics_http",
        "order_once",
        "token_bucket",
    ];
    Example::check_all(package, &index, &longer);
}

/// OpenMetrics 1.0, "Text format": families, each with its type before its samples, and an end.
#[test]
fn a_page_of_metrics_is_what_collectors_expect() {
    let server = example("metrics_http", &["--serve"]);
    let line = server.line();
    let address = line.strip_prefix("http://").unwrap();
    let address = address.strip_suffix("/metrics").unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    let patience = Some(Duration::from_secs(60));
    connection.set_read_timeout(patience).unwrap();
    connection
        .write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
        .unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).unwrap();
    let (head, page) = response.split_once("\r\n\r\n").unwrap();
    let length = format!("Content-Length: {}", page.len());
    for wanted in [
        "HTTP/1.0 200 OK",
        "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8",
        &length,
    ] {
        assert!(head.lines().any(|line| line == wanted), "{head}");
    }
    let families = page.strip_suffix("# EOF\n").unwrap();
    let mut names = HashSet::new();
    let (mut family, mut samples_of) = ("", String::new());
    for line in families.lines() {
        match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
            ["#", "TYPE", name, kind] => {
                assert!(names.insert(name), "{name} comes twice");
                family = name;
                samples_of = match kind {
                    "counter" => format!("{name}_total{{"),
                    "gauge" => format!("{name}{{"),
                    _ => panic!("{line}"),
                };
            }
            ["#", "HELP", name, text] => assert!(name == family && !text.is_empty(), "{line}"),
            _ => {
                assert!(line.starts_with(&samples_of), "{line} of {family}");
                let value = line.rsplit(' ').next().unwrap();
                value.parse::<f64>().unwrap();
            }
        }
    }
    for name in ["sinew_messages_received", "sinew_peers"] {
        assert!(names.contains(name), "{names:?}");
    }
    // Of three requests one is with the only worker.
    for wanted in [
        "sinew_mdp_in_flight{service=\"echo\"} 1",
        "sinew_mdp_ready{service=\"echo\"} 2",
        "sinew_mdp_workers{service=\"echo\"} 1",
        "sinew_mdp_replies_total{service=\"echo\"} 0",
    ] {
        assert!(families.lines().any(|line| line == wanted), "{page}");
    }
    let oldest = "sinew_mdp_oldest_seconds{service=\"echo\"} ";
    let oldest = families.lines().find_map(|line| line.strip_prefix(oldest));
    assert!(oldest.unwrap().parse::<f64>().unwrap() > 0.0);
}
