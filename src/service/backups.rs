//! How old the last good backup is. Making them is the business of the server's own commands.

use crate::Service;
use domain::backup::{Backup, last_good};
use store::{ReadRows, tables};

impl Service {
    /// The newest good backup.
    pub fn last_backup(&self) -> Option<Backup> {
        last_good(&(self.parts().backups)()).cloned()
    }

    /// Seconds since the last good backup; without one, since the first thing that happened here. `None` when nothing has.
    pub fn backup_age_s(&self) -> Option<u64> {
        let first = || self.store().scan_from(&tables::EVENTS, &0, 1).ok()?.first().map(|event| event.at);
        let since = self.last_backup().map(|backup| backup.at).or_else(first)?;
        Some(self.parts().clock.now().since_ms(since) / 1000)
    }
}
