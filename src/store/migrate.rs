//! The schema number and the steps from one to the next. A step runs in one transaction together with the new number.

use crate::{
    Store, StoreError, Tx,
    tables::{META, SCHEMA_KEY},
    tx::ReadRows,
};

/// Schema that this version writes.
pub const CURRENT: u64 = 1;

/// `STEPS[n]` leads from schema `n + 1` to `n + 2`.
const STEPS: &[Step] = &[];

type Step = fn(&mut Tx) -> Result<(), StoreError>;

/// Brings the store to [`CURRENT`]; refuses data of a newer version.
pub fn run(store: &Store) -> Result<(), StoreError> {
    let found = store.get(&META, &SCHEMA_KEY.to_string())?.unwrap_or(0);
    if found > CURRENT {
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        return Err(StoreError::Newer { found: number(found), known: number(CURRENT) });
    }
    for schema in found..CURRENT {
        store.commit_blocking(move |tx: &mut Tx| -> Result<(), StoreError> {
            // From 0 (an empty store) there is nothing to convert.
            if let Some(step) = usize::try_from(schema).ok().and_then(|n| n.checked_sub(1)).and_then(|n| STEPS.get(n)) {
                step(tx)?;
            }
            tx.put(&META, &SCHEMA_KEY.to_string(), &(schema + 1))
        })?;
        tracing::info!(schema = schema + 1, "store.migrated");
    }
    Ok(())
}
