//! Text messages: whole or not at all, and said so.

use vernam_engine::Event;
use vernam_session::Suite;
use vernam_session::limits::MAX_TEXT;
use vernam_tests::lab::{Lab, Setup, part};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_in_order_and_are_marked_delivered() {
    let lab = Lab::new(51);
    let setup = || Setup::with_mark(256 << 10).preferring(Suite::Otp);
    let pair = lab.talking(setup(), setup()).await;
    let bodies: Vec<String> = vec![String::new(), "ä ∞ 🙂".to_owned(), "x".repeat(MAX_TEXT), "last".to_owned()];
    for body in &bodies {
        pair[0].write("bob", body).await;
    }
    let wanted = bodies.clone();
    pair[1]
        .wait("all messages", move |events| {
            let came: Vec<&String> = events
                .iter()
                .filter_map(|event| if let Event::TextReceived { body, .. } = event { Some(&body.0) } else { None })
                .collect();
            (came.len() == wanted.len()).then(|| assert!(came.iter().zip(&wanted).all(|(a, b)| *a == b)))
        })
        .await;
    pair[0]
        .wait("four delivery marks", |events| {
            let marks = events.iter().filter(|event| matches!(event, Event::TextDelivered { .. })).count();
            (marks == 4).then_some(())
        })
        .await;
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_long_is_refused_here_and_the_next_one_goes() {
    let lab = Lab::new(52);
    let pair = lab.talking(Setup::with_mark(64 << 10), Setup::with_mark(64 << 10)).await;
    pair[0].write("bob", &"x".repeat(MAX_TEXT + 1)).await;
    let words = pair[0].warned("longer").await;
    assert!(words.contains(&MAX_TEXT.to_string()), "{words}");
    pair[0].write("bob", "short").await;
    assert_eq!(pair[1].text().await, "short");
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_for_which_there_is_no_key_is_said_unsent_and_later_ones_arrive() {
    let lab = Lab::new(53);
    let setup = || Setup::with_mark(0).preferring(Suite::Otp);
    let pair = lab.talking(setup(), setup()).await;
    pair[0].write("bob", "without key").await;
    pair[0].warned("used up").await;
    assert_eq!(pair[0].count(|event| matches!(event, Event::TextSent { .. })), 0);
    pair[0].tell(vernam_engine::Command::SetMark { contact: "bob".to_owned(), bytes: 64 << 10 }).await;
    pair[0].saw("stock", |event| matches!(event, Event::Stock { usable, .. } if *usable >= 32 << 10)).await;
    pair[0].write("bob", "with key").await;
    assert_eq!(pair[1].text().await, "with key");
    pair[0].saw("the delivery mark", |event| matches!(event, Event::TextDelivered { .. })).await;
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_message_may_be_written_the_moment_the_conversation_stands() {
    // The peer may hear of the text stream before it has read that the conversation stands.
    for seed in 0..12 {
        let lab = Lab::new(54 + seed);
        let setup = || Setup::with_mark(16 << 10).preferring(Suite::Aes256Gcm);
        let pair = lab.pair(setup(), setup());
        pair[0].connect("bob", pair[1].addr).await;
        let [alice, bob] = &pair;
        let write = async |from: &vernam_tests::lab::Person, to: &str| {
            from.saw("the conversation", |event| matches!(event, Event::Established { .. })).await;
            from.saw("key", |event| matches!(event, Event::Stock { usable, .. } if *usable > 1_024)).await;
            from.write(to, "at once").await;
        };
        tokio::join!(write(alice, "bob"), write(bob, "alice"));
        assert_eq!((alice.text().await.as_str(), bob.text().await.as_str()), ("at once", "at once"));
        part(pair).await;
    }
}
