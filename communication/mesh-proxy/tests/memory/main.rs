//! Bodies that are larger than memory may be: what is on its way is bounded (mesh 12b: 66).
//!
//! A binary of its own, so that nothing else grows in its process.
//!
//! 1 GiB up and 1 GiB down through HTTP/1, HTTP/2 and where one becomes the other, while the reader is
//! slower than the writer. Bytes are made as they go and held by nobody: client, proxy and
//! backend are this process, so that what any of them held would show.

#[cfg(test)]
#[expect(dead_code, reason = "the other binary uses the rest of it")]
#[path = "../it/rig.rs"]
mod rig;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body::Frame;
    use http_body_util::BodyExt as _;
    use hyper::body::Incoming;
    use mesh_policy::destination::{Attachments, Protocol, Timeouts};
    use mesh_proxy::Limits;

    use super::rig::{Proxy, backend, piped, policy, request};

    const PIECE: usize = 64 << 10;
    /// Pieces of 64 MiB, and of 1 GiB.
    const SOME: usize = 1 << 10;
    const MANY: usize = 16 << 10;
    static BYTES: [u8; PIECE] = [7; PIECE];
    const GROWTH_MAX: usize = 8 << 20;

    /// Resident bytes of this process.
    fn resident() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = pages.split_whitespace().nth(1).unwrap().parse().unwrap();
        pages * 4_096
    }

    /// Reads all of it, now and then letting the writer run ahead; answers bytes and the peak.
    async fn take(mut body: Incoming) -> (usize, usize) {
        let (mut bytes, mut peak, mut frames) = (0, 0, 0_usize);
        while let Some(frame) = body.frame().await {
            bytes += frame.unwrap().data_ref().map_or(0, Bytes::len);
            frames += 1;
            if frames.is_multiple_of(64) {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                peak = peak.max(resident());
            }
        }
        (bytes, peak)
    }

    fn pour(count: usize) -> super::rig::TestBody {
        let (pieces, body) = piped();
        let pouring = async move {
            for _ in 0..count {
                // The reader may have failed; then its test says so.
                let piece = Frame::data(Bytes::from_static(&BYTES));
                if pieces.send(Ok(piece)).await.is_err() {
                    return;
                }
            }
        };
        hyper::rt::Executor::execute(&hyper_util::rt::TokioExecutor::new(), pouring);
        body
    }

    async fn check(front: Protocol, behind: Protocol) {
        let back = backend(behind, move |request: Request<Incoming>| async move {
            if request.method() == "GET" {
                let count = request.uri().path()[1..].parse().unwrap();
                return Response::new(pour(count));
            }
            let (bytes, peak) = take(request.into_body()).await;
            Response::new(super::rig::text(format!("{bytes} {peak}")))
        })
        .await;
        let limits = Limits { body_bytes_max: 1 << 30, ..Limits::default() };
        let mut policy = policy(behind, &[back.address]);
        // So much takes its time on a slow machine.
        let timeouts = Timeouts { request: Duration::ZERO, ..Timeouts::default() };
        let settings = Attachments { timeouts: Some(timeouts), ..Attachments::default() };
        policy.attachments.insert("back".to_owned(), settings);
        let proxy = Proxy::with(policy, limits);
        let mut before = 0;
        // The first round brings every buffer and page into being.
        for (round, count) in [SOME, MANY].into_iter().enumerate() {
            let asked = request("GET", &format!("/{count}"), super::rig::empty());
            let down = send(&proxy, front, asked).await;
            let (bytes, peak_down) = take(down.into_body()).await;
            assert_eq!(bytes, PIECE * count);
            let up = send(&proxy, front, request("POST", "/", pour(count))).await;
            let told = up.into_body().collect().await.unwrap().to_bytes();
            let told = String::from_utf8(told.to_vec()).unwrap();
            let (bytes, peak_up) = told.split_once(' ').unwrap();
            assert_eq!(bytes, (PIECE * count).to_string());
            let peak = peak_down.max(peak_up.parse().unwrap());
            println!("{front:?} {behind:?} round {round}: {before} to {peak}");
            if round > 0 {
                assert!(peak < before + GROWTH_MAX, "{front:?} {behind:?}: {before} to {peak}");
            }
            before = resident();
        }
    }

    async fn send(
        proxy: &Proxy,
        front: Protocol,
        asked: Request<super::rig::TestBody>,
    ) -> Response<Incoming> {
        match front {
            Protocol::Http2 => proxy.h2().await.send_request(asked).await.unwrap(),
            Protocol::Http1 | Protocol::Tcp => proxy.h1().await.send_request(asked).await.unwrap(),
        }
    }

    #[tokio::test]
    async fn a_gibibyte_each_way_needs_less_than_eight_mebibytes() {
        for front in [Protocol::Http1, Protocol::Http2] {
            for behind in [Protocol::Http1, Protocol::Http2] {
                check(front, behind).await;
            }
        }
    }
}
