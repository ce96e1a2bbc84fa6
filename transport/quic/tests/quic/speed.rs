//! How fast a stream is beside one of plain quinn. Run with `--run-ignored only`, in a release build.

use std::time::Instant;

use bytes::Bytes;
use vernam_quic::{Lane, RecvStream, SendStream, WireSettings};

use crate::world::{Stranger, connect, network, pair, soon};

const BYTES: u32 = 512 * 1024 * 1024;
const PIECE: u32 = 64 * 1024;

/// A stream is known to the other side with its first byte.
async fn begun<T>(mut send: SendStream, accepting: impl Future<Output = T>) -> (SendStream, T) {
    send.write_all(&[0]).await.unwrap();
    (send, accepting.await)
}

async fn rate(mut send: SendStream, mut receive: RecvStream) -> f64 {
    let start = Instant::now();
    let sending = tokio::spawn(async move {
        let piece = Bytes::from(vec![0; PIECE as usize]);
        for _ in 0..BYTES / PIECE {
            send.write_chunk(piece.clone()).await.unwrap();
        }
        send.finish().unwrap();
        send.stopped().await.unwrap();
    });
    let mut got = 0;
    while let Some(chunk) = receive.read_chunk(usize::MAX, true).await.unwrap() {
        got += chunk.bytes.len();
    }
    soon(sending).await.unwrap();
    assert_eq!(got, BYTES as usize + 1);
    f64::from(BYTES) / 1e6 / start.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it alone, in a release build"]
async fn a_stream_runs_at_the_speed_of_quinn() {
    for _ in 0..3 {
        let (alice, bob) = pair(WireSettings::default(), WireSettings::default());
        let (called, answered) = connect(&alice, &bob, Lane::Files).await;
        let (send, receive) = begun(called.open_uni().await.unwrap(), answered.accept_uni()).await;
        let ours = rate(send, receive.unwrap()).await;

        let ca = network();
        let listener = Stranger::proper(&ca).listen();
        let address = listener.local_addr().unwrap();
        let answering = async { listener.accept().await.unwrap().await.unwrap() };
        let ((_client, called), answered) = tokio::join!(Stranger::proper(&ca).call(&ca, address), answering);
        let called = called.unwrap();
        let (send, receive) = begun(called.open_uni().await.unwrap(), answered.accept_uni()).await;
        let plain = rate(send, receive.unwrap()).await;
        println!("ours {ours:.0} MB/s, plain quinn {plain:.0} MB/s, ratio {:.2}", ours / plain);
    }
}
