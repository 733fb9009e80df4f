//! The contract over the driver that plays.
#![allow(missing_docs, clippy::unwrap_used)]

mod contract;

use contract::{World, contract, folder};
use runtime::fake::FakeRuntime;
use std::sync::Arc;

fn world() -> Option<World> {
    let fake = Arc::new(FakeRuntime::default());
    let again = fake.clone();
    Some(World {
        dir: folder(),
        runtime: fake.clone(),
        reopen: Box::new(move |_| again.clone()),
        freeze: |_| {},
        traces: Box::new(|_| Vec::new()),
        fake: Some(fake),
    })
}

contract!(world);
