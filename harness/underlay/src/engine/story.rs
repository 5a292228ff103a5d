//! What the agents run with, and what they would find if they started now.
//!
//! Values and the node IP are read once, at an agent's start (Cilium 1.18, daemon/cmd/local_node_sync.go; the chart's
//! `rollOutCiliumPods` is off): until it is restarted it goes on with those.

use cilium::release::Release;
use cilium::values::Values;

use super::install::{self, Installed};
use crate::case::Case;
use crate::step::{Action, Chart};

/// A cluster's configuration in the course of time.
pub struct Story {
    /// The case before any step.
    original: Case,
    /// What the agents read at their start: version, values, node IPs.
    running: Case,
    /// What the API server and the ConfigMap say.
    current: Case,
    release: Release,
    /// What Helm said last.
    helm: Result<(), String>,
}

/// What comes of a step for the agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Helm refuses, in its words; nothing has changed.
    Refused(String),
    /// They start, with what is current by then.
    Starts,
    /// Nothing yet.
    Nothing,
}

impl Story {
    /// It begins with the case and what Helm made of its values.
    pub fn begin(case: &Case, installed: &Installed) -> Self {
        Self {
            original: case.clone(),
            running: case.clone(),
            current: case.clone(),
            release: Release::install(installed.values.clone()),
            helm: Ok(()),
        }
    }

    /// The case as the API server has it by now: what a probe to a node's InternalIP goes by.
    pub fn current(&self) -> &Case {
        &self.current
    }

    /// The case as the agents have it.
    pub fn running(&self) -> &Case {
        &self.running
    }

    /// What Helm said last.
    pub fn helm(&self) -> &Result<(), String> {
        &self.helm
    }

    /// Takes what a step does to the configuration, and says what comes of it. What it does to the network is no part of it.
    pub fn take(&mut self, action: &Action) -> Taken {
        let refused = match action {
            Action::Install(chart) => self.install(chart),
            Action::Upgrade { chart, keep } => self.release(chart, |release, given| release.upgrade(given, *keep)),
            Action::NodeIp { node, address } => {
                self.current.cluster.node_ips.insert(node.clone(), *address);
                None
            }
            _ => None,
        };
        let starts = match action {
            Action::Install(_) | Action::RestartAgents => true,
            // A new version restarts them; values alone don't.
            Action::Upgrade { .. } => self.current.version != self.running.version,
            _ => false,
        };
        match refused {
            Some(refusal) => Taken::Refused(refusal),
            None if starts => Taken::Starts,
            None => Taken::Nothing,
        }
    }

    /// The agents start: they run with what is current from now on.
    ///
    /// # Errors
    /// Helm's refusal, which is never of what is current.
    pub fn start(&mut self) -> Result<Installed, String> {
        let installed = install::install(&self.current)?;
        self.running = self.current.clone();
        Ok(installed)
    }

    /// `helm install`, with the values file of the first installation, which is still there, and what is given beside
    /// it. Helm's refusal comes back, and then nothing has changed.
    fn install(&mut self, chart: &Chart) -> Option<String> {
        let mut values = Values::from(self.original.values.clone());
        values.merge(&Values::from(chart.values.clone()));
        let set = self.original.set.iter().chain(&chart.set).cloned().collect();
        let whole = Chart { values: values.into_map(), set, version: chart.version.clone() };
        self.release(&whole, |_, given| Release::install(given))
    }

    /// `helm install` or `helm upgrade`: `next` makes the new release of the old one and the values given. Helm's
    /// refusal comes back, and then nothing has changed.
    fn release(&mut self, chart: &Chart, next: impl FnOnce(&Release, Values) -> Release) -> Option<String> {
        let mut given = Values::from(chart.values.clone());
        let mut case = self.current.clone();
        case.version = chart.version.clone().unwrap_or(case.version);
        let taken = chart.set.iter().try_for_each(|argument| given.set(argument)).map_err(|error| error.to_string());
        let release = taken.map(|()| next(&self.release, given)).and_then(|release| {
            (case.values, case.set) = (release.values().into_map(), Vec::new());
            install::install(&case).map(|_| release)
        });
        match release {
            Ok(release) => {
                (self.release, self.current, self.helm) = (release, case, Ok(()));
                None
            }
            Err(refusal) => {
                self.helm = Err(refusal.clone());
                Some(format!("Helm refuses: {refusal}"))
            }
        }
    }
}
