//! From rows to the router's table.

use crate::{Parts, rows};
use domain::{
    AppId, Dyno, DynoId, DynoKind, DynoState,
    plan::{WEB, serving},
};
use router::{AppRoute, Backend, Table, Traffic};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use store::{ReadRows, StoreError, tables};

/// What the table is made of.
#[derive(Default)]
pub struct Routes(Mutex<State>);

#[derive(Default)]
struct State {
    apps: HashMap<AppId, (Arc<AppRoute>, Vec<String>)>,
    backends: HashMap<DynoId, Arc<Backend>>,
    traffic: HashMap<AppId, Arc<Traffic>>,
    generation: u64,
}

impl Routes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads an app anew and publishes.
    pub fn refresh(&self, parts: &Parts, app: AppId) -> Result<(), StoreError> {
        let mut state = self.state();
        let view = rows::view(&parts.store, app, parts.settings.preboot_hold)?;
        let Some(row) = view.app else {
            state.apps.remove(&app);
            state.traffic.remove(&app);
            publish(&mut state, parts);
            return Ok(());
        };
        let web: Vec<&Dyno> = view.dynos.iter().filter(|d| d.ptype == WEB && d.kind == DynoKind::Formation).collect();
        let asleep = view.wanted.asleep;
        // A dyno that is about to stop is no reason not to ask for the app to wake.
        let serving = if asleep { Vec::new() } else { serving(&view.wanted, &view.dynos, parts.clock.now()) };
        let backends = serving.into_iter().filter_map(|d| backend(&mut state, d)).collect();
        let traffic = state.traffic.entry(app).or_default().clone();
        let wanted_web = view.wanted.types.iter().find(|t| t.ptype == WEB).map_or(0, |t| t.quantity);
        let deployed = match row.current {
            Some(version) => rows::slug_of(&parts.store, app, version)?.is_some(),
            None => false,
        };
        let crashed = web.iter().filter(|d| d.state == DynoState::Crashed).count();
        let starting = asleep || web.iter().any(|d| d.state == DynoState::Starting) || (wanted_web > 0 && crashed == 0);
        let mut hosts = vec![format!("{}.{}", row.name, parts.settings.domain)];
        let domains = parts.store.scan(&tables::DOMAINS, &())?;
        hosts.extend(domains.into_iter().filter(|d| d.app == app).map(|d| d.hostname));
        let route = AppRoute {
            app,
            name: row.name,
            maintenance: row.maintenance,
            deployed,
            wants_web: wanted_web > 0,
            starting,
            asleep,
            https_redirect: row.features.contains_key(domain::feature::HTTPS_REDIRECT),
            hsts: row.features.contains_key(domain::feature::HSTS),
            traffic,
            backends,
        };
        state.apps.insert(app, (Arc::new(route), hosts));
        publish(&mut state, parts);
        Ok(())
    }

    /// The app is gone.
    pub fn remove(&self, parts: &Parts, app: AppId) {
        let mut state = self.state();
        state.apps.remove(&app);
        state.traffic.remove(&app);
        publish(&mut state, parts);
    }

    /// What the router sees of an app.
    pub fn traffic(&self, app: AppId) -> Arc<Traffic> {
        self.state().traffic.entry(app).or_default().clone()
    }

    /// Takes the backend of a dyno out, for closing it.
    pub fn take_backend(&self, dyno: DynoId) -> Option<Arc<Backend>> {
        self.state().backends.remove(&dyno)
    }
}

fn backend(state: &mut State, dyno: &Dyno) -> Option<Arc<Backend>> {
    let address = dyno.socket_address()?;
    Some(state.backends.entry(dyno.id).or_insert_with(|| Backend::new(dyno.id, dyno.name(), address)).clone())
}

fn publish(state: &mut State, parts: &Parts) {
    state.generation += 1;
    let mut table = Table { generation: state.generation, ..Table::default() };
    for (route, hosts) in state.apps.values() {
        for host in hosts {
            match host.strip_prefix("*.") {
                Some(parent) => table.wildcards.insert(parent.into(), route.clone()),
                None => table.hosts.insert(host.clone(), route.clone()),
            };
        }
    }
    parts.router.publish(table);
}
