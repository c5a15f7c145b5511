//! What it costs to read a typical request: `cargo run --release --example parse_cost`.

use std::hint::black_box;

use mesh_proxy::h1::{Limits, hop, request};
use tokio::time::Instant;

const REQUEST: &[u8] = b"GET /api/orders/0a1b2c3d0a1b?view=full HTTP/1.1\r\n\
    Host: edge.example:7080\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Connection: keep-alive\r\n\
    traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n";

const ROUNDS: u32 = 200_000;
const REPEATS: usize = 7;

#[expect(clippy::print_stdout, reason = "a figure for a reader")]
fn main() {
    let limits = Limits::default();
    let mut fields = Vec::with_capacity(limits.fields_max);
    let parse = best(|| {
        let line = request(black_box(REQUEST), &mut 0, &limits, &mut fields);
        assert!(black_box(line).is_ok());
    });
    let forward = best(|| {
        let line = request(black_box(REQUEST), &mut 0, &limits, &mut fields);
        assert!(black_box(line).is_ok());
        let hops = hop::Hops::of(REQUEST, &fields, hop::Upgrades::Removed);
        black_box(fields.iter().filter(|field| hops.keeps(field)).count());
    });
    println!("{} bytes, {} fields", REQUEST.len(), fields.len());
    println!("parse                 {parse:6.0} ns");
    println!("parse and hop rules   {forward:6.0} ns");
}

/// Nanoseconds of one call, in the best of some repeats: the others had company.
fn best(mut call: impl FnMut()) -> f64 {
    let mut least = f64::MAX;
    for _ in 0..REPEATS {
        let start = Instant::now();
        (0..ROUNDS).for_each(|_| call());
        least = least.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS));
    }
    least
}
