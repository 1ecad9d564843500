//! What is put aside: refused to who waits for it, and counted.

use super::*;

#[tokio::test]
async fn an_event_that_was_put_aside_is_not_held_and_not_waited_for() {
    let fake = Fake::default().at(&ORDERS, Stream::Order, 9);
    fake.park(Stream::Order, 7);
    let views = patient(&fake);
    match views.capture(&[View::from(&ORDERS)], &ask("g1:o0=7")).await {
        Err(Error::PositionParked { parked, .. }) => assert_eq!(parked.to_string(), "g1:o0=7"),
        other => panic!("{other:?}"),
    }
    views
        .capture(&[View::from(&ORDERS)], &ask("g1:o0=8"))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_answer_knows_how_much_waits_under_its_key_and_how_many_keys_do() {
    let fake = Fake::default().at(&ORDERS, Stream::Order, 9);
    fake.park(Stream::Order, 7);
    fake.park(Stream::Order, 8);
    let views = freshness(&fake);
    let orders = [View::from(&ORDERS)];
    let fresh = views.capture(&orders, &Ask::default()).await.unwrap();
    let known = |count| Parked { count, more: false };
    assert_eq!(fresh.parked, known(1), "keys of the view");
    assert_eq!(
        under(&views, &fresh, &["key"]).await,
        known(2),
        "records of the key"
    );
    assert_eq!(under(&views, &fresh, &["other"]).await, known(0));
}

async fn under(views: &Freshness<Fake>, fresh: &Fresh, keys: &[&str]) -> Parked {
    let keys: Vec<String> = keys.iter().map(|&key| key.to_owned()).collect();
    views.about(fresh.clone(), &keys).await.unwrap().parked
}

#[tokio::test]
async fn what_is_put_aside_beyond_what_a_look_shows_is_asked_for() {
    let fake = Fake::default().at(&ORDERS, Stream::Order, 9);
    for (key, seq) in [("a", 3), ("b", 4), ("b", 5)] {
        fake.park_under(key, Stream::Order, seq);
    }
    fake.state.lock().unwrap().shown = Some(1);
    let views = patient(&fake);
    let orders = [View::from(&ORDERS)];
    for (token, is_parked) in [("g1:o0=3", true), ("g1:o0=5", true), ("g1:o0=6", false)] {
        match views.capture(&orders, &ask(token)).await {
            Err(Error::PositionParked { parked, .. }) if is_parked => {
                assert_eq!(parked.to_string(), token);
            }
            Ok(_) if !is_parked => {}
            other => panic!("{token}: {other:?}"),
        }
    }
    // A token that the view does not consume has nothing to do with what it put aside.
    views.capture(&orders, &ask("g1:p0=1")).await.unwrap();
    let fresh = views.capture(&orders, &Ask::default()).await.unwrap();
    let at_least = Parked {
        count: 1,
        more: true,
    };
    assert_eq!(fresh.parked, at_least, "keys");
    for (keys, count) in [(&["b"][..], 2), (&["c"], 0), (&["a", "b"], 3)] {
        let parked = under(&views, &fresh, keys).await;
        assert_eq!(parked, Parked { count, more: false }, "{keys:?}");
    }
}
