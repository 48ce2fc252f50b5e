//! The encoder's thread: its queue, its callers, its failures.

use std::sync::{Arc, mpsc};

use serde_json::json;
use tch::Device;
use tokio::runtime::Runtime;

use super::site::{SPEC, Site, base64, network, picture, wait_until};
use crate::limits::ENCODE_QUEUE_MAX;
use crate::model::Embedder;
use crate::sample::image::{ImageLimits, decode};
use crate::sample::{Content, ImageTile};
use crate::serve::encoder::{EncodeError, Encoder, EncoderSetup};
use crate::serve::problem::Problem;

fn tile(number: u64) -> Content {
    let limits = ImageLimits {
        pixels_max: 10_000,
        side_px_max: 100,
    };
    Content::Image(decode(&picture(number), &limits, SPEC.image_px()).unwrap())
}

/// A tile whose bytes are not there: the network's thread panics over it.
fn poison() -> Content {
    Content::Image(ImageTile {
        width: 100,
        height: 100,
        rgb: Vec::new(),
    })
}

/// An encoder of one lane that opens its network when it is told to.
fn held_back() -> (Encoder, mpsc::Sender<()>) {
    of_lanes(1)
}

/// The same, of so many lanes.
fn of_lanes(lanes: usize) -> (Encoder, mpsc::Sender<()>) {
    let (release, held) = mpsc::channel();
    let held = parking_lot::Mutex::new(held);
    let setup = EncoderSetup {
        name: "encoder-test".to_owned(),
        open: Arc::new(move || {
            let _ = held.lock().recv();
            Ok(Embedder::open(&SPEC, None, &network(1), Device::Cpu)?)
        }),
        input_len: SPEC.input_len(),
        lanes,
        threads: 1,
        follower: None,
        on_covered: Box::new(|| {}),
    };
    (Encoder::start(setup).unwrap().0, release)
}

#[test]
fn a_full_queue_refuses_with_429_and_the_others_are_answered() {
    let (encoder, release) = held_back();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let encoder = std::sync::Arc::new(encoder);
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..ENCODE_QUEUE_MAX as u64 {
            let encoder = std::sync::Arc::clone(&encoder);
            waiting.spawn(async move { encoder.embed(vec![tile(number % 7)]).await });
        }
        while encoder.queued() < ENCODE_QUEUE_MAX {
            tokio::task::yield_now().await;
        }
        let refused = encoder.embed(vec![tile(0)]).await;
        assert_eq!(refused, Err(EncodeError::QueueFull));
        let problem = Problem::from(EncodeError::QueueFull);
        assert_eq!((problem.status, problem.retry_after_s), (429, Some(1)));
        release.send(()).unwrap();
        let mut answered = 0;
        while let Some(answer) = waiting.join_next().await {
            let row = answer.unwrap().unwrap();
            assert!((row.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-4);
            answered += 1;
        }
        assert_eq!(answered, ENCODE_QUEUE_MAX);
    });
}

#[test]
fn a_query_whose_caller_has_gone_is_skipped() {
    let (encoder, release) = held_back();
    Runtime::new().unwrap().block_on(async {
        // It would make the thread panic, were it looked at.
        let mut gone = Box::pin(encoder.embed(vec![poison()]));
        assert!(
            std::future::poll_fn(|cx| std::task::Poll::Ready(gone.as_mut().poll(cx)))
                .await
                .is_pending()
        );
        assert_eq!(encoder.queued(), 1);
        drop(gone);
        release.send(()).unwrap();
        assert!(encoder.embed(vec![tile(1)]).await.is_ok());
        assert_eq!(encoder.failure(), None);
    });
}

#[test]
fn rows_come_back_to_whoever_asked_for_them() {
    let (encoder, release) = held_back();
    Runtime::new().unwrap().block_on(async {
        release.send(()).unwrap();
        let (first, second) = tokio::join!(encoder.embed(vec![tile(1), tile(2)]), encoder.embed(vec![tile(3)]));
        let together = encoder.embed(vec![tile(1), tile(2), tile(3)]).await.unwrap();
        let apart = [first.unwrap(), second.unwrap()].concat();
        assert_eq!(apart.len(), together.len());
        assert!(apart.iter().zip(&together).all(|(a, b)| (a - b).abs() < 1e-4));
    });
}

#[test]
fn a_long_request_is_dealt_out_to_the_lanes_and_comes_back_in_its_order() {
    let (encoder, release) = of_lanes(2);
    for _lane in 0..2 {
        release.send(()).unwrap();
    }
    Runtime::new().unwrap().block_on(async {
        let together = encoder.embed((0..21).map(tile).collect::<Vec<_>>()).await.unwrap();
        let dim = together.len() / 21;
        for (number, row) in (0..21).zip(together.chunks_exact(dim)) {
            let alone = encoder.embed(vec![tile(number)]).await.unwrap();
            assert_eq!(alone.len(), dim);
            assert!(alone.iter().zip(row).all(|(a, b)| (a - b).abs() < 1e-4), "{number}");
        }
        assert!(encoder.embed(Vec::new()).await.unwrap().is_empty());
    });
}

#[test]
fn after_a_panic_the_encoder_is_named_as_failed_and_starts_afresh() {
    let site = Site::new();
    site.insert(0..10);
    let generation = site.publish(1);
    site.wait_for(generation, 10);
    let served = site.serving.current().unwrap();
    let answer = site.runtime.block_on(served.encoder.embed(vec![poison()]));
    assert!(
        matches!(&answer, Err(EncodeError::Failed(why)) if why.contains("panicked")),
        "{answer:?}"
    );
    // The other lane answers meanwhile.
    assert_eq!(site.search(3, 1).status, 200);
    wait_until("the encoder to work again", || site.get("/readyz").status == 200);
    assert_eq!(site.search(3, 1).json()["hits"][0]["path"], "3.png");
    // What arrived meanwhile is not forgotten.
    site.insert(10..12);
    site.wait_for(generation, 12);
}

#[test]
fn a_generation_that_can_not_be_opened_is_named_and_the_next_takes_its_place() {
    let site = Site::new();
    site.insert(0..5);
    site.publish_bytes(b"no weights");
    wait_until("the failure to be named", || site.get("/readyz").status == 503);
    let ready = site.get("/readyz").json();
    assert!(
        ready["streams"]["pictures"]["failure"]
            .as_str()
            .unwrap()
            .contains("weights"),
        "{ready}"
    );
    let refused = site.post("/api/v1/embed", &json!({ "images": [base64(&picture(1))] }));
    assert_eq!((refused.status, refused.problem()), (503, "encoder-failed".to_owned()));
    site.wait_for(site.publish(1), 5);
    assert_eq!(site.search(3, 1).json()["hits"][0]["path"], "3.png");
    assert_eq!(site.get("/readyz").status, 200);
}

#[test]
fn a_replaced_generation_is_let_go_and_every_thread_ends_when_serving_stops() {
    let site = Site::new();
    site.insert(0..5);
    site.wait_for(site.publish(1), 5);
    let weak = std::sync::Arc::downgrade(&site.serving.current().unwrap());
    site.wait_for(site.publish(2), 5);
    wait_until("the old generation to be let go", || weak.upgrade().is_none());
    site.serving.stop();
    assert!(site.serving.current().is_none());
}
