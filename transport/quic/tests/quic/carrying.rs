//! What a connection carries once it stands: voice, streams, and the reason of its end.

use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use vernam_quic::limits::{
    FILES_STREAM_WINDOW, FILES_WINDOW_MIN, MAIN_WINDOW, MAX_UNI_STREAMS, VOICE_DATAGRAM_MAX, VOICE_SEND_BUFFER,
};
use vernam_quic::{Connection, Impairment, Lane, QuicError, SendStream, WireSettings};

use crate::world::{connect, pair, soon};

/// Whether `future` has to wait, having been asked once.
fn waits(future: impl Future) -> bool {
    std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[tokio::test]
async fn voice_goes_both_ways_up_to_the_longest_frame() {
    let (alice, bob) = pair(WireSettings::default(), WireSettings::default());
    let (called, answered) = connect(&alice, &bob, Lane::Main).await;
    for (from, to) in [(&called, &answered), (&answered, &called)] {
        for len in [0, 1, 200, VOICE_DATAGRAM_MAX] {
            let frame = Bytes::from(vec![0x5a; len]);
            from.send_voice(frame.clone()).unwrap();
            assert_eq!(soon(to.read_voice()).await.unwrap(), frame);
        }
        let refused = from.send_voice(vec![0; VOICE_DATAGRAM_MAX + 1].into());
        assert!(matches!(refused, Err(QuicError::VoiceTooLong { len }) if len == VOICE_DATAGRAM_MAX + 1));
    }
}

// One thread, and no await between the frames: the network gets its turn only after the last of them.
#[tokio::test(flavor = "current_thread")]
async fn where_voice_piles_up_the_oldest_frames_are_dropped() {
    const FRAME: usize = 200;
    const BOOKKEEPING: usize = 32; // quinn counts this much for each datagram that waits
    let (alice, bob) = pair(WireSettings::default(), WireSettings::default());
    let (called, answered) = connect(&alice, &bob, Lane::Main).await;
    for number in 0..1000_u32 {
        let mut frame = vec![0; FRAME];
        frame[..4].copy_from_slice(&number.to_be_bytes());
        called.send_voice(frame.into()).unwrap();
    }
    let fit = VOICE_SEND_BUFFER / (FRAME + BOOKKEEPING);
    let mut arrived = Vec::new();
    while arrived.last() != Some(&999) {
        let frame = soon(answered.read_voice()).await.unwrap();
        arrived.push(u32::from_be_bytes(frame[..4].try_into().unwrap()));
    }
    let newest: Vec<u32> = (0..1000).skip(1000 - fit).collect();
    assert_eq!(arrived, newest);
    assert_eq!((called.stats().voice_offered, called.stats().voice_sent), (1000, fit as u64));
}

#[tokio::test]
async fn two_lanes_share_the_socket_and_not_their_contents() {
    let (alice, bob) = pair(WireSettings::default(), WireSettings::default());
    let (main, main_answered) = connect(&alice, &bob, Lane::Main).await;
    let (files, files_answered) = connect(&alice, &bob, Lane::Files).await;
    assert_eq!(main_answered.remote_address(), files_answered.remote_address());
    assert_eq!(main.remote_address(), files.remote_address());
    assert_eq!((bob.open_connections(), alice.open_connections()), (2, 2));

    let voice = Bytes::from_static(b"voice");
    main.send_voice(voice.clone()).unwrap();
    deliver(&files, &files_answered, &vec![7; 300_000]).await;
    deliver(&main_answered, &main, b"text").await;
    assert_eq!(soon(main_answered.read_voice()).await.unwrap(), voice);
    for end in [&files, &files_answered] {
        assert!(matches!(end.send_voice(voice.clone()), Err(QuicError::NoVoice)));
        assert!(matches!(soon(end.read_voice()).await, Err(QuicError::NoVoice)));
    }
}

/// Sends `data` on a stream of its own and checks that it arrives whole.
pub(crate) async fn deliver(from: &Connection, to: &Connection, data: &[u8]) {
    let sending = async {
        let mut stream = from.open_uni().await.unwrap();
        stream.write_all(data).await.unwrap();
        stream.finish().unwrap();
        stream.stopped().await.unwrap();
    };
    let receiving = async { to.accept_uni().await.unwrap().read_to_end(data.len()).await.unwrap() };
    let ((), received) = soon(async { tokio::join!(sending, receiving) }).await;
    assert!(received == data, "{} of {} bytes, or not the same", received.len(), data.len());
}

#[tokio::test]
async fn a_two_way_stream_answers() {
    let (alice, bob) = pair(WireSettings::default(), WireSettings::default());
    let (called, answered) = connect(&alice, &bob, Lane::Main).await;
    let asking = async {
        let (mut send, mut receive) = called.open_bi().await.unwrap();
        send.write_all(b"ping").await.unwrap();
        send.finish().unwrap();
        receive.read_to_end(16).await.unwrap()
    };
    let answering = async {
        let (mut send, mut receive) = answered.accept_bi().await.unwrap();
        let asked = receive.read_to_end(16).await.unwrap();
        send.write_all(&asked).await.unwrap();
        send.finish().unwrap();
    };
    assert_eq!(soon(async { tokio::join!(asking, answering) }).await.0, b"ping");
}

#[tokio::test]
async fn nobody_can_make_us_hold_more_than_the_window() {
    let (alice, bob) = pair(WireSettings::default(), WireSettings::default());
    for (lane, at_least, at_most) in
        [(Lane::Main, MAIN_WINDOW, MAIN_WINDOW), (Lane::Files, FILES_WINDOW_MIN, FILES_STREAM_WINDOW)]
    {
        let (called, answered) = connect(&alice, &bob, lane).await;
        // Neither end reads; the one who was called grants the same as the one who called.
        for end in [&called, &answered] {
            let mut stream = end.open_uni().await.unwrap();
            fill(&mut stream, at_least).await;
            let mut more = 0;
            while !waits(stream.write(&[0; 1024])) {
                more += 1024;
                assert!(at_least + more <= at_most, "{lane:?} takes more than {at_most} bytes unread");
            }
        }
        called.close(0, "");
    }
}

#[tokio::test]
async fn a_long_way_gets_the_window_to_fill_it() {
    let delay = Duration::from_millis(60);
    let slow = |seed| {
        let impairment = Impairment { loss: 0.0, delay, jitter: Duration::ZERO, seed };
        WireSettings { impairment: Some(impairment), ..WireSettings::default() }
    };
    let (alice, bob) = pair(slow(1), slow(2));
    let (called, answered) = connect(&alice, &bob, Lane::Files).await;
    for end in [&called, &answered] {
        fill(&mut end.open_uni().await.unwrap(), FILES_STREAM_WINDOW).await;
    }
}

/// Writes `len` bytes in pieces, so that the test does not hold them all.
async fn fill(stream: &mut SendStream, len: u32) {
    let piece = Bytes::from(vec![0; 64 * 1024]);
    for _ in 0..len / 65_536 {
        soon(stream.write_chunk(piece.clone())).await.unwrap();
    }
}

#[tokio::test]
async fn a_peer_opens_a_bounded_number_of_streams() {
    let (alice, bob) = pair(WireSettings::default(), WireSettings::default());
    let (called, _answered) = connect(&alice, &bob, Lane::Main).await;
    let mut open = Vec::new();
    for _ in 0..MAX_UNI_STREAMS {
        open.push(soon(called.open_uni()).await.unwrap());
    }
    assert!(waits(called.open_uni()));
}

#[tokio::test]
async fn the_reason_of_the_end_arrives() {
    let (alice, bob) = pair(WireSettings::default(), WireSettings::default());
    let (called, answered) = connect(&alice, &bob, Lane::Main).await;
    assert!(answered.close_reason().is_none());
    called.close(7, "hung up\u{1b}[2J");
    let told = soon(answered.closed()).await;
    let QuicError::ClosedByPeer { code: 7, reason } = &told else { panic!("{told:?}") };
    assert_eq!(reason, "hung up [2J", "a peer's text must not steer our terminal");
    assert!(matches!(soon(answered.read_voice()).await, Err(QuicError::ClosedByPeer { code: 7, .. })));
    assert!(matches!(soon(called.closed()).await, QuicError::ClosedHere));
}

#[tokio::test]
async fn closing_the_endpoint_tells_every_peer() {
    let (alice, bob) = pair(WireSettings::default(), WireSettings::default());
    let (_main, main_answered) = connect(&alice, &bob, Lane::Main).await;
    let (_files, files_answered) = connect(&alice, &bob, Lane::Files).await;
    alice.close(3, "going home");
    soon(alice.wait_idle()).await;
    for end in [main_answered, files_answered] {
        assert!(matches!(soon(end.closed()).await, QuicError::ClosedByPeer { code: 3, .. }));
    }
    assert!(soon(alice.accept()).await.is_none());
}
