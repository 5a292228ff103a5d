//! The cluster that is there, from one case to the next: made when a case needs one, used again by cases that need the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use kind::cluster::{self, Wanted};
use kind::config::{Role as KindRole, Spec};
use kind::{Cluster, Node, leftovers};
use lab::Machine;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::sync::OwnedMutexGuard;
use topology::network::Role;
use topology::source::shown;

use super::clean;
use super::setup::{Setup, unsupported};
use super::values;
use crate::case::Case;
use crate::engine::fleet;
use crate::live::folder::{Claim, Folder};
use crate::live::whereabouts;
use crate::observed::EngineError;

/// The cluster that is there, if one is.
#[derive(Debug, Default)]
pub struct Pool {
    held: Option<Held>,
    /// Whether the user knows what Cilium is told beside scenarios.
    told: bool,
}

#[derive(Debug)]
struct Held {
    name: String,
    /// None while it is being made.
    cluster: Option<Cluster>,
    /// Images its nodes have by now.
    loaded: BTreeSet<String>,
    /// Whether a case has been on it.
    used: bool,
    /// Where its kubeconfig is.
    folder: TempDir,
    /// Tells others that it is in use.
    _claim: Claim,
}

/// A cluster, as long as a case is up on it. No other case has it meanwhile.
#[derive(Clone)]
pub struct Site {
    pool: Arc<OwnedMutexGuard<Pool>>,
    /// The topology's nodes, each with the cluster's.
    pub nodes: Vec<(String, Node)>,
}

/// Where those who use clusters put their claims.
///
/// # Errors
/// It can't be made, or others could get at what is in it.
pub fn folder() -> Result<Folder, EngineError> {
    let refused = |refusal: crate::live::Refusal| EngineError::Failed {
        step: "find the folder of clusters in use".to_owned(),
        reason: refusal.message,
    };
    let own = Folder::of_user().map_err(refused)?;
    Folder::at(own.path().join("clusters")).map_err(refused)
}

/// Who makes clusters, as a label of each says: all who have their claims in one folder. docker shows everybody's
/// clusters, while whether one is in use is seen by those alone: another user, or a container that has docker's socket, has
/// another folder, be it of the same path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The kernel that numbers the folder.
    boot: String,
    device: u64,
    inode: u64,
    /// The folder's path, for people.
    folder: String,
}

impl Owner {
    /// Who has their claims there.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn of(claims: &Folder) -> io::Result<Self> {
        let found = fs::metadata(claims.path())?;
        let folder = claims.path().display().to_string();
        Ok(Self { boot: whereabouts::boot()?, device: found.dev(), inode: found.ino(), folder })
    }

    /// The label's value.
    pub fn label(&self) -> String {
        serde_json::to_string(self).expect("it is plain data")
    }

    /// Why a cluster with this label may be in use without being seen here, in words; none where it is this owner's own.
    pub fn doubts(&self, label: Option<&str>) -> Option<String> {
        let Some(label) = label else {
            return Some("nothing says who made it".to_owned());
        };
        match serde_json::from_str::<Self>(label) {
            Ok(other) if other.boot != self.boot => {
                Some("it was made before this machine's last start, or on another machine".to_owned())
            }
            Ok(other) if (other.device, other.inode) == (self.device, self.inode) => None,
            Ok(other) => {
                let which = if other.folder == self.folder { "another " } else { "" };
                let folder = shown(&other.folder);
                Some(format!("somebody else made it and may be using it, whose claims are in {which}{folder}"))
            }
            Err(_) => Some(format!("somebody else made it and may be using it: {}", shown(label))),
        }
    }
}

impl Site {
    /// A cluster for this case: the one there is if it will do, else another.
    ///
    /// # Errors
    /// docker's, kind's or Helm's answer; the case asks for what kind can't do.
    pub async fn of(setup: &Setup, case: &Case) -> Result<Self, EngineError> {
        let wanted = spec(setup, case)?;
        let mut pool = setup.pool().lock_owned().await;
        let fits =
            pool.held.as_ref().and_then(|held| held.cluster.as_ref()).is_some_and(|there| there.spec.serves(&wanted));
        if !fits || (setup.options().fresh && pool.held.as_ref().is_some_and(|held| held.used)) {
            pool.replace(setup, &wanted, case).await?;
        }
        match pool.tidy().await {
            Err(error) if setup.options().cluster.is_none() => {
                setup.say(&format!("the cluster can't be used again, another is made: {error}"));
                pool.replace(setup, &wanted, case).await?;
                pool.tidy().await?;
            }
            done => done?,
        }
        let held = pool.held.as_mut().expect("it was just made or fits");
        let cluster = held.cluster.as_mut().expect("it was just made or fits");
        // Those of versions that steps bring, too.
        for version in case.versions() {
            for image in &setup.release(version)?.images {
                if !held.loaded.contains(image) {
                    kind::images::load(cluster, image).await.map_err(failed("bring images to the nodes"))?;
                    held.loaded.insert(image.clone());
                }
            }
        }
        let nodes = ordered(case).into_iter().map(|(name, _)| name).zip(cluster.nodes.iter().cloned()).collect();
        Ok(Self { pool: Arc::new(pool), nodes })
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        let held = self.pool.held.as_ref().and_then(|held| held.cluster.as_ref());
        held.expect("a site has a cluster as long as it is there")
    }
}

impl fleet::Site for Site {
    fn machines(&self) -> Result<BTreeMap<String, Machine>, EngineError> {
        let machine = |(name, node): &(String, Node)| {
            Ok((name.clone(), node.machine(name).map_err(failed("make a node ready for the lab"))?))
        };
        self.nodes.iter().map(machine).collect()
    }
}

impl Pool {
    /// Lets go of the cluster there is, and has another.
    async fn replace(&mut self, setup: &Setup, spec: &Spec, case: &Case) -> Result<(), EngineError> {
        if let Some(left) = self.end(setup).await? {
            setup.say(&left);
        }
        self.begin(setup, spec, case).await
    }

    /// Makes the cluster as new, if a case has been on it.
    async fn tidy(&mut self) -> Result<(), EngineError> {
        let Some(held) = &mut self.held else { return Ok(()) };
        let Some(cluster) = &mut held.cluster else { return Ok(()) };
        cluster.refresh().await.map_err(failed("look at the nodes"))?;
        if std::mem::replace(&mut held.used, true) { clean::clean(cluster).await } else { Ok(()) }
    }

    async fn begin(&mut self, setup: &Setup, spec: &Spec, case: &Case) -> Result<(), EngineError> {
        setup.programs()?;
        let io = |error: std::io::Error| EngineError::failed("make a folder for the kubeconfig", &error);
        let folder_of_claims = folder()?;
        let name = match &setup.options().cluster {
            Some(name) => name.clone(),
            None => format!("{}{:08x}", leftovers::PREFIX, RandomState::new().hash_one(std::process::id()) as u32),
        };
        let taken = |reason: String| EngineError::Failed { step: format!("claim the cluster {name}"), reason };
        let claim = name.parse().map_err(taken)?;
        let others = folder_of_claims.labs().map_err(|refusal| taken(refusal.message))?;
        if let Some(other) = others.iter().find(|other| other.name == claim) {
            return Err(taken(format!("{} uses it", other.process())));
        }
        let claim = folder_of_claims.claim(&claim).map_err(|refusal| taken(refusal.message))?;
        let folder = tempfile::tempdir().map_err(io)?;
        let kubeconfig = folder.path().join("kubeconfig");
        let held =
            Held { name: name.clone(), cluster: None, loaded: BTreeSet::new(), used: false, folder, _claim: claim };
        let held = self.held.insert(held);
        let cluster = if setup.options().cluster.is_some() {
            let found = Cluster::find(setup.tools(), &name, kubeconfig).await.map_err(failed("find the cluster"))?;
            if !found.spec.serves(spec) {
                let told = |spec: &Spec| serde_json::to_string(spec).unwrap_or_default();
                let what =
                    format!("use {name} for this: it was made as {}, and needed is {}", told(&found.spec), told(spec));
                return Err(unsupported(what));
            }
            held.used = true;
            found
        } else {
            let (advertised, keep) = (case.cluster.api_server, setup.options().keep);
            let owner = Owner::of(&folder_of_claims);
            let owner = owner.map_err(|error| EngineError::failed("look at the folder of claims", &error))?.label();
            let wanted = Wanted { name: &name, spec, advertised, keep, owner: &owner, kubeconfig };
            Cluster::create(setup.tools(), wanted).await.map_err(failed("create the cluster"))?
        };
        setup.say(&format!("cluster {name} is there"));
        if !self.told {
            self.told = true;
            setup.say("Cilium is told, where a scenario says nothing else:");
            for (value, given, why) in values::needed(cluster.control_plane()) {
                setup.say(&format!("  {value}={given}  {why}"));
            }
        }
        held.cluster = Some(cluster);
        Ok(())
    }

    /// Deletes the cluster, unless somebody wants to keep it; in words, if it was kept.
    ///
    /// # Errors
    /// docker's or kind's answer.
    pub async fn end(&mut self, setup: &Setup) -> Result<Option<String>, EngineError> {
        let Some(held) = self.held.take() else { return Ok(None) };
        let options = setup.options();
        if options.cluster.is_some() || (options.keep && held.cluster.is_some()) {
            let name = held.name;
            return Ok(Some(format!(
                "cluster {name} is left: `--cluster {name}` uses it again, `underlay gc {name}` removes it"
            )));
        }
        cluster::delete(setup.tools(), &held.name).await.map_err(failed("delete the cluster"))?;
        drop(held.folder);
        Ok(None)
    }
}

/// What kind is to make for a case.
fn spec(setup: &Setup, case: &Case) -> Result<Spec, EngineError> {
    let nodes = ordered(case);
    if nodes.iter().filter(|(_, role)| *role == KindRole::ControlPlane).count() > 1 {
        return Err(unsupported(
            "make a cluster with several control planes: put a load balancer before them".to_owned(),
        ));
    }
    let mut api_addresses: Vec<_> = setup.api_addresses().iter().copied().chain(api_addresses(case)).collect();
    api_addresses.sort_unstable();
    api_addresses.dedup();
    Ok(Spec {
        nodes: nodes.into_iter().map(|(_, role)| role).collect(),
        pods: case.cluster.pod_cidr,
        services: case.cluster.service_cidr,
        image: setup.options().node_image.clone(),
        api_addresses,
    })
}

/// Addresses that the API server may have to be reached under.
pub fn api_addresses(case: &Case) -> impl Iterator<Item = Ipv4Addr> {
    let control_plane = case.network.nodes.iter().find(|node| node.role == Role::ControlPlane);
    let own = control_plane.into_iter().flat_map(|node| {
        let nics = node.nics.iter().flat_map(|nic| nic.addresses.iter().map(ipnet::Ipv4Net::addr));
        nics.chain(node.overlay_address)
    });
    own.chain([case.cluster.api_server])
}

/// The topology's nodes in the order in which kind makes its own: the control plane first.
fn ordered(case: &Case) -> Vec<(String, KindRole)> {
    let nodes = case.network.cluster_nodes().map(|node| {
        let role = if node.role == Role::ControlPlane { KindRole::ControlPlane } else { KindRole::Worker };
        (node.name.clone(), role)
    });
    let mut nodes: Vec<_> = nodes.collect();
    nodes.sort_by_key(|(_, role)| *role != KindRole::ControlPlane);
    nodes
}

/// Something of a cluster's failed.
pub fn failed(step: &str) -> impl Fn(kind::Error) -> EngineError {
    move |error| EngineError::failed(step, &error)
}
