//! Transactions: reads see the transaction's own writes, then those of earlier ones of the same group, then sled.

use crate::{
    StoreError, codec,
    codec::Change,
    table::{Key, Table},
    tables,
    working::Working,
};
use domain::{AppId, Event, EventBody, Origin, UnixMs};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;

/// Key and stored value.
pub type RawRow = (Vec<u8>, Vec<u8>);

/// Typed reading, for transactions and for committed data alike.
pub trait ReadRows {
    /// The value of a key.
    ///
    /// # Errors
    /// When the working copy can not be read.
    fn raw_get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// At most `limit` rows with keys that begin with `prefix`, at or after `from`, in order.
    ///
    /// # Errors
    /// When the working copy can not be read.
    fn raw_scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<RawRow>, StoreError>;

    /// One row.
    ///
    /// # Errors
    /// When it can not be read or decoded.
    fn get<K: Key + ?Sized, V: Serialize + DeserializeOwned>(
        &self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<Option<V>, StoreError>
    where
        Self: Sized,
    {
        self.raw_get(&table.key_bytes(key))?.map(|bytes| table.decode(&bytes)).transpose()
    }

    /// All rows whose key begins with `prefix`, in order of the key.
    ///
    /// # Errors
    /// When they can not be read or decoded.
    fn scan<K: Key + ?Sized, V: Serialize + DeserializeOwned, P: Key>(
        &self,
        table: &Table<K, V>,
        prefix: &P,
    ) -> Result<Vec<V>, StoreError>
    where
        Self: Sized,
    {
        let prefix = table.key_bytes(prefix);
        self.raw_scan(&prefix, &prefix, usize::MAX)?.iter().map(|(_, bytes)| table.decode(bytes)).collect()
    }

    /// All rows whose key begins with `prefix`, from `from` on, in order of the key.
    ///
    /// # Errors
    /// When they can not be read or decoded.
    fn scan_since<K: Key + ?Sized, V: Serialize + DeserializeOwned, P: Key>(
        &self,
        table: &Table<K, V>,
        from: &K,
        prefix: &P,
    ) -> Result<Vec<V>, StoreError>
    where
        Self: Sized,
    {
        let (start, prefix) = (table.key_bytes(from), table.key_bytes(prefix));
        self.raw_scan(&start, &prefix, usize::MAX)?.iter().map(|(_, bytes)| table.decode(bytes)).collect()
    }

    /// At most `limit` rows of the whole table from `from` on.
    ///
    /// # Errors
    /// When they can not be read or decoded.
    fn scan_from<K: Key + ?Sized, V: Serialize + DeserializeOwned>(
        &self,
        table: &Table<K, V>,
        from: &K,
        limit: usize,
    ) -> Result<Vec<V>, StoreError>
    where
        Self: Sized,
    {
        let start = table.key_bytes(from);
        self.raw_scan(&start, &start[..1], limit)?.iter().map(|(_, bytes)| table.decode(bytes)).collect()
    }
}

/// Rows changed but not yet in sled.
pub(crate) type Overlay = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// One transaction.
pub struct Tx<'a> {
    working: &'a Working,
    group: &'a Overlay,
    own: Overlay,
    next_event: u64,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(working: &'a Working, group: &'a Overlay, next_event: u64) -> Self {
        Self { working, group, own: Overlay::new(), next_event }
    }

    /// Writes a row.
    ///
    /// # Errors
    /// When the value does not encode.
    pub fn put<K: Key + ?Sized, V: Serialize + DeserializeOwned>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Result<(), StoreError> {
        let bytes = codec::encode_value(table.version, value)?;
        self.own.insert(table.key_bytes(key), Some(bytes));
        Ok(())
    }

    /// Removes a row, if it is there.
    pub fn delete<K: Key + ?Sized, V: Serialize + DeserializeOwned>(&mut self, table: &Table<K, V>, key: &K) {
        self.own.insert(table.key_bytes(key), None);
    }

    /// Removes every row whose key begins with `prefix`.
    ///
    /// # Errors
    /// When the rows can not be listed.
    pub fn delete_all<K: Key + ?Sized, V: Serialize + DeserializeOwned, P: Key>(
        &mut self,
        table: &Table<K, V>,
        prefix: &P,
    ) -> Result<(), StoreError> {
        let prefix = table.key_bytes(prefix);
        for (key, _) in self.raw_scan(&prefix, &prefix, usize::MAX)? {
            self.own.insert(key, None);
        }
        Ok(())
    }

    /// Appends an event; its number follows the last one without a gap.
    ///
    /// # Errors
    /// When the event does not encode.
    pub fn event(&mut self, at: UnixMs, app: Option<AppId>, origin: Origin, body: EventBody) -> Result<u64, StoreError> {
        let seq = self.next_event;
        let Origin { actor, request_id, address, root } = origin;
        self.put(&tables::EVENTS, &seq, &Event { seq, at, app, actor, request_id, address, root, body })?;
        self.next_event += 1;
        Ok(seq)
    }

    pub(crate) fn finish(self) -> (Vec<Change>, u64) {
        (self.own.into_iter().collect(), self.next_event)
    }
}

impl ReadRows for Tx<'_> {
    fn raw_get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.own.get(key).or_else(|| self.group.get(key)) {
            Some(change) => Ok(change.clone()),
            None => self.working.get(key),
        }
    }

    fn raw_scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<RawRow>, StoreError> {
        let pending = |overlay: &Overlay| overlay.range(from.to_vec()..).any(|(key, _)| key.starts_with(prefix));
        if !pending(self.group) && !pending(&self.own) {
            return self.working.scan(from, prefix, limit);
        }
        let mut rows: BTreeMap<Vec<u8>, Option<Vec<u8>>> =
            self.working.scan(from, prefix, usize::MAX)?.into_iter().map(|(k, v)| (k, Some(v))).collect();
        for overlay in [self.group, &self.own] {
            let changed = overlay.range(from.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
            rows.extend(changed.map(|(k, v)| (k.clone(), v.clone())));
        }
        Ok(rows.into_iter().filter_map(|(k, v)| v.map(|v| (k, v))).take(limit).collect())
    }
}
