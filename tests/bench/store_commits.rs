//! Durable commits per second with 1 and 32 writers. `cargo bench --bench store_commits`
#![allow(missing_docs, clippy::unwrap_used)]

use domain::{EventBody, UnixMs};
use std::time::{Duration, Instant};
use store::{Options, Store, StoreError, tables};

fn main() {
    println!("{:>8} {:>14} {:>12}", "writers", "commits/s", "us/commit");
    for writers in [1usize, 8, 32] {
        let dir = tempfile::tempdir_in("target").unwrap();
        let store = Store::open(Options::new(dir.path())).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let start = Instant::now();
        let end = start + Duration::from_secs(4);
        let tasks: Vec<_> = (0..writers)
            .map(|writer| {
                let store = store.clone();
                runtime.spawn(async move {
                    let mut count = 0u64;
                    while Instant::now() < end {
                        let key = format!("{writer}-{}", count % 1000);
                        let value = count;
                        let done: Result<(), StoreError> = store
                            .commit(move |tx| {
                                tx.put(&tables::META, &key, &value)?;
                                tx.event(UnixMs(value), None, domain::Origin::default(), EventBody::AppUpdated).map(|_| ())
                            })
                            .await;
                        done.unwrap();
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let total: u64 = tasks.into_iter().map(|t| runtime.block_on(t).unwrap()).sum();
        let seconds = start.elapsed().as_secs_f64();
        println!("{writers:>8} {:>14.0} {:>12.1}", total as f64 / seconds, seconds * 1e6 * writers as f64 / total as f64);
    }
}
