//! What reading `CURIOD_FAULT` promises about any text; compiled for fuzzers and tests alone.

use super::faults;

/// Orders are taken all or none; a refusal quotes what it refuses.
pub fn orders(text: &str) {
    match faults::parse(text) {
        Ok(orders) => assert_eq!(orders.len(), text.split(',').count()),
        Err(why) => assert!(text.split(',').any(|order| why.contains(order))),
    }
}
