//! The one writer: takes closures, commits them in groups.

use crate::{
    Options, StoreError,
    codec::Record,
    export,
    journal::Journal,
    tx::{Overlay, Tx},
    working::{self, Shared},
};
use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};
use tokio::sync::{mpsc, oneshot, watch};

/// Most transactions that share one `fdatasync`.
const GROUP_MAX: usize = 256;

/// What the writer is asked.
pub enum Message {
    Job(Box<dyn Job>),
    Export(oneshot::Sender<Result<PathBuf, StoreError>>),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// A transaction with its answer.
pub trait Job: Send {
    /// Runs the closure; true when its changes shall be committed.
    fn run(&mut self, tx: &mut Tx) -> bool;
    /// Tells the caller.
    fn answer(self: Box<Self>, durable: Result<(), StoreError>);
}

/// The only kind of job.
pub struct TypedJob<F, T, E> {
    work: Option<F>,
    result: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> TypedJob<F, T, E>
where
    F: FnOnce(&mut Tx) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    pub fn boxed(work: F, answer: oneshot::Sender<Result<T, E>>) -> Box<dyn Job> {
        Box::new(Self { work: Some(work), result: None, answer })
    }
}

impl<F, T, E> Job for TypedJob<F, T, E>
where
    F: FnOnce(&mut Tx) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, tx: &mut Tx) -> bool {
        let Some(work) = self.work.take() else { return false };
        // A panic is a bug of one caller; the writer belongs to all.
        let result = catch_unwind(AssertUnwindSafe(|| work(tx)))
            .unwrap_or_else(|_| Err(StoreError::Corrupt("a transaction panicked and was undone".into()).into()));
        let commit = result.is_ok();
        self.result = Some(result);
        commit
    }

    fn answer(self: Box<Self>, durable: Result<(), StoreError>) {
        let result = match (durable, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(StoreError::Closed.into()),
            (Err(e), Some(Ok(_)) | None) => Err(e.into()),
            (Err(_), Some(failed)) => failed,
        };
        let _ = self.answer.send(result); // the caller may be gone
    }
}

pub struct Writer {
    options: Options,
    journal: Journal,
    working: Shared,
    notify: watch::Sender<u64>,
    last_event: u64,
    bytes_since_export: u64,
    /// Held as long as the writer lives.
    _lock: File,
}

impl Writer {
    pub fn new(
        options: Options,
        journal: Journal,
        working: Shared,
        notify: watch::Sender<u64>,
        last_event: u64,
        lock: File,
    ) -> Self {
        Self { options, journal, working, notify, last_event, bytes_since_export: 0, _lock: lock }
    }

    /// Works until closed or until every handle is gone.
    pub fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        while let Some(first) = queue.blocking_recv() {
            let mut jobs = Vec::new();
            let mut message = Some(first);
            let mut other = None;
            while let Some(next) = message {
                match next {
                    Message::Job(job) => jobs.push(job),
                    control => {
                        other = Some(control);
                        break;
                    }
                }
                message = if jobs.len() < GROUP_MAX { queue.try_recv().ok() } else { None };
            }
            self.commit_group(jobs);
            match other {
                Some(Message::Export(answer)) => {
                    let _ = answer.send(self.export());
                }
                Some(Message::Close(answer)) => {
                    queue.close();
                    let due = self.bytes_since_export > 1 << 20 || export::none_yet(&self.options.dir.join("exports"));
                    let result = if due { self.export().map(|_| ()) } else { Ok(()) };
                    self.working.replace(None);
                    drop(self);
                    let _ = answer.send(result);
                    return;
                }
                _ => {}
            }
        }
    }

    /// Runs, journals, applies, answers.
    fn commit_group(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let (records, last_event) = match self.run_group(&mut jobs) {
            Ok(done) => done,
            Err(e) => return jobs.into_iter().for_each(|job| job.answer(Err(e.clone()))),
        };
        if let Err(e) = self.journal.append(&records) {
            tracing::error!(error = %e, "store.commit_failed");
            return jobs.into_iter().for_each(|job| job.answer(Err(e.clone())));
        }
        self.last_event = last_event;
        self.apply(&records);
        jobs.into_iter().for_each(|job| job.answer(Ok(())));
        self.notify.send_if_modified(|seq| std::mem::replace(seq, last_event) != last_event);
        if self.bytes_since_export > self.options.export_every_bytes
            && let Err(e) = self.export()
        {
            tracing::error!(error = %e, "store.export_failed");
            self.bytes_since_export = 0; // next try after as much again
        }
    }

    /// Runs every closure against the view that the ones before it left.
    fn run_group(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(Vec<Record>, u64), StoreError> {
        let working = self.open_working()?;
        let mut group = Overlay::new();
        let mut records = Vec::with_capacity(jobs.len());
        let mut last_event = self.last_event;
        for job in jobs {
            let mut tx = Tx::new(&working, &group, last_event + 1);
            if !job.run(&mut tx) {
                continue;
            }
            let (changes, next_event) = tx.finish();
            if changes.is_empty() {
                continue;
            }
            last_event = next_event - 1;
            group.extend(changes.iter().cloned());
            self.bytes_since_export +=
                changes.iter().map(|(k, v)| (k.len() + v.as_ref().map_or(0, Vec::len)) as u64).sum::<u64>();
            records.push(Record { seq: self.journal.last_seq() + records.len() as u64 + 1, changes });
        }
        Ok((records, last_event))
    }

    /// The records are durable; a working copy that fails now is reopened and gets them from the journal.
    fn apply(&mut self, records: &[Record]) {
        let Some(last) = records.last() else { return };
        let applied = self.working.current().and_then(|w| w.apply(records.iter().flat_map(|r| &r.changes), last.seq));
        if let Err(e) = applied {
            tracing::error!(error = %e, "store.working_copy_failed: reopening it");
            self.working.replace(None);
            if let Err(e) = self.open_working() {
                tracing::error!(error = %e, "store.reopen_failed: trying again with the next change");
            }
        }
    }

    /// The working copy, reopened first when it failed before.
    fn open_working(&mut self) -> Result<std::sync::Arc<working::Working>, StoreError> {
        if let Ok(current) = self.working.current() {
            return Ok(current);
        }
        let reopened = working::reopen(&self.options, &mut self.journal)?;
        self.working.replace(Some(reopened));
        self.working.current()
    }

    fn export(&mut self) -> Result<PathBuf, StoreError> {
        let working = self.open_working()?;
        let dir = self.options.dir.join("exports");
        let path = export::write(&dir, &working, self.journal.last_seq())?;
        self.bytes_since_export = 0;
        let reach = export::prune(&dir)?;
        self.journal.prune(reach)?;
        Ok(path)
    }
}
