//! From identities to owners: what runtimes know of containers is asked for, rules are applied, and what was once said stays.

use super::container::{Container, Maker};
use super::identity::Place;
use super::labels::{LabelConfig, Labels};
use super::{Identity, Owner, Rule};
use crate::container::{Cache, ContainerInfo, Entry, Knowledge};
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Identities whose owners are remembered: each a name and up to nine labels, of which none is longer than 256 bytes.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Says what is known of the container of this id, maker and realm, without making anyone wait.
pub(crate) type Ask = Box<dyn Fn(&str, Maker, &Arc<str>) -> Knowledge + Send>;

/// What is done about a container of which a runtime has not said yet what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It is shown by what is known now, and that may change.
    Glance,
    /// Its profile waits.
    Wait,
    /// It goes by what is known now, for ever.
    Over,
}

/// Whose something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// This owner's; nobody's, if a rule wants it dropped.
    Final(Option<Arc<Owner>>),
    /// Not known yet: this owner's for now.
    Waits(Option<Arc<Owner>>),
}

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnerCounts {
    /// Identities whose profiles wait for a runtime's answer now.
    pub(crate) waiting: u64,
    /// Containers that go by their cgroups because no runtime knows them.
    pub(crate) unknown: u64,
    /// The same because none has answered in time.
    pub(crate) late: u64,
    /// Labels that there was no room for.
    pub(crate) labels_dropped: u64,
    /// Samples that a rule wanted dropped.
    pub(crate) samples_dropped: u64,
    /// Owners that have a place now.
    pub(crate) placed: u64,
    /// Owners of an interval that were folded into one because they found no place.
    pub(crate) folded_surplus: u64,
    /// The same because they had too little CPU time.
    pub(crate) folded_small: u64,
}

/// Knows the owner of each identity.
pub(crate) struct Owners {
    config: LabelConfig,
    rules: Vec<Rule>,
    ask: Ask,
    /// What counts of each container, or that nothing does: all its identities go by the same, whatever is learned later, for other
    /// labels would begin another series.
    containers: Cache,
    /// What has come of it.
    given: LruCache<Arc<Identity>, Option<Arc<Owner>>>,
    pub(crate) counts: OwnerCounts,
}

impl Owners {
    pub(crate) fn new(config: LabelConfig, rules: Vec<Rule>, ask: Ask) -> Self {
        Self {
            config,
            rules,
            ask,
            containers: Cache::new(),
            given: LruCache::new(REMEMBERED),
            counts: OwnerCounts::default(),
        }
    }

    /// The owner of what is known by this (settled) identity.
    pub(crate) fn of(&mut self, identity: &Arc<Identity>, patience: Patience) -> Decision {
        let info = match container(identity) {
            Some((id, maker, realm)) => match self.settle(id, maker, realm, patience) {
                Entry::Known(info) => Some(info),
                Entry::Unknown => None,
                Entry::Asking => return Decision::Waits(self.look(identity, None).0),
            },
            None => None,
        };
        if let Some(owner) = self.given.get(identity) {
            return Decision::Final(owner.clone());
        }
        self.give(identity, info.as_deref())
    }

    /// What counts of a container from now on; asking, if that is not decided yet.
    fn settle(&mut self, id: &str, maker: Maker, realm: &Arc<str>, patience: Patience) -> Entry {
        let key = maker.key(id);
        if let Some(settled) = self.containers.get(&key) {
            return settled.clone();
        }
        let settled = match ((self.ask)(id, maker, realm), patience) {
            (Knowledge::Known(info), _) => Entry::Known(info),
            (_, Patience::Glance) | (Knowledge::Asking, Patience::Wait) => return Entry::Asking,
            (Knowledge::Unknown, _) => {
                self.counts.unknown += 1;
                if self.counts.unknown == 1 {
                    fallen_back(id, "is known to no container runtime");
                }
                Entry::Unknown
            }
            (Knowledge::Asking, Patience::Over) => {
                self.counts.late += 1;
                if self.counts.late == 1 {
                    fallen_back(
                        id,
                        "was asked for, and not all container runtimes have answered",
                    );
                }
                Entry::Unknown
            }
        };
        self.containers.put(&key, settled.clone());
        settled
    }

    fn give(&mut self, identity: &Arc<Identity>, info: Option<&ContainerInfo>) -> Decision {
        let (owner, dropped) = self.look(identity, info);
        self.counts.labels_dropped += dropped as u64;
        self.given.put(Arc::clone(identity), owner.clone());
        Decision::Final(owner)
    }

    /// The owner by what is known, and how many labels there was no room for.
    fn look(
        &self,
        identity: &Identity,
        info: Option<&ContainerInfo>,
    ) -> (Option<Arc<Owner>>, usize) {
        let labels = Labels::new(identity, info, &self.config);
        match labels.ruled(&self.rules, &self.config) {
            Some(labels) => {
                let (owner, dropped) = labels.into_owner();
                (Some(Arc::new(owner)), dropped)
            }
            None => (None, 0),
        }
    }
}

/// The container that a runtime may know, who made it, and its realm.
fn container(identity: &Identity) -> Option<(&str, Maker, &Arc<str>)> {
    match &identity.place {
        Place::Cgroup(cgroup) => match &cgroup.container {
            Some(Container::Oci { id, maker }) => Some((id, *maker, &cgroup.realm)),
            _ => None,
        },
        _ => None,
    }
}

fn fallen_back(id: &str, why: &str) {
    tracing::warn!(
        "container {id} {why}: it goes by its cgroup, as others may that are not told of here"
    );
}

#[cfg(test)]
mod tests {
    use super::super::{CgroupOwner, Declaration, Declared, Program, Runtime};
    use super::*;
    use crate::container::PodInfo;
    use std::sync::Mutex;

    const ID: &str = "3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860";

    /// Owners that ask a runtime whose answer can be changed.
    fn owners(rules: Vec<Rule>) -> (Owners, Arc<Mutex<Knowledge>>) {
        let answer = Arc::new(Mutex::new(Knowledge::Asking));
        let ask = {
            let answer = Arc::clone(&answer);
            Box::new(move |id: &str, maker: Maker, realm: &Arc<str>| {
                let asked = (id, maker.runtime, &**realm);
                assert_eq!(asked, (ID, Some(Runtime::Docker), ID));
                answer.lock().unwrap().clone()
            })
        };
        (Owners::new(LabelConfig::default(), rules, ask), answer)
    }

    fn identity() -> Arc<Identity> {
        calling_itself("")
    }

    fn calling_itself(name: &str) -> Arc<Identity> {
        let cgroup = CgroupOwner::of_path(format!("/docker/{ID}").as_bytes()).map(Arc::new);
        let declared = Declared::default();
        let environment = format!("OTEL_SERVICE_NAME={name}");
        declared.set(Declaration::new(b"app", b"", environment.as_bytes()));
        Arc::new(Identity::of(cgroup, Program::Executable(b"app"), &declared))
    }

    fn known(name: &str) -> Knowledge {
        Knowledge::Known(Arc::new(ContainerInfo {
            name: Some(name.to_owned()),
            ..ContainerInfo::default()
        }))
    }

    fn name(decision: &Decision) -> (&str, bool) {
        match decision {
            Decision::Final(Some(owner)) => (&owner.service_name, true),
            Decision::Waits(Some(owner)) => (&owner.service_name, false),
            _ => ("", true),
        }
    }

    /// A container waits for its name, and keeps the one it was given whatever is said of it later.
    #[test]
    fn names_are_waited_for_and_kept() {
        let (mut owners, answer) = owners(vec![]);
        let container = identity();
        for patience in [Patience::Glance, Patience::Wait] {
            let decision = owners.of(&container, patience);
            assert_eq!(name(&decision), ("docker-3726184226f5", false));
        }
        *answer.lock().unwrap() = known("web");
        assert_eq!(
            name(&owners.of(&container, Patience::Glance)),
            ("web", true)
        );
        *answer.lock().unwrap() = known("other");
        assert_eq!(name(&owners.of(&container, Patience::Over)), ("web", true));
        assert_eq!(owners.counts, OwnerCounts::default());
    }

    /// One that nobody knows, or of whom nobody answers, goes by its cgroup, which is counted once and never changes.
    #[test]
    fn what_is_not_known_in_time_falls_back() {
        for (says, late, unknown) in [(Knowledge::Asking, 1, 0), (Knowledge::Unknown, 0, 1)] {
            let (mut owners, answer) = owners(vec![]);
            let container = identity();
            *answer.lock().unwrap() = says;
            assert!(!name(&owners.of(&container, Patience::Glance)).1);
            for _ in 0..2 {
                let decision = owners.of(&container, Patience::Over);
                assert_eq!(name(&decision), ("docker-3726184226f5", true));
                *answer.lock().unwrap() = known("web");
            }
            assert_eq!((owners.counts.late, owners.counts.unknown), (late, unknown));
        }
    }

    /// All that runs in a container has the labels that were given first, also what calls itself otherwise and was seen later.
    #[test]
    fn a_container_has_the_same_labels_for_all() {
        for (first, then, label) in [
            (Knowledge::Asking, known("web"), None),
            (known("web"), Knowledge::Unknown, Some("web")),
        ] {
            let (mut owners, answer) = owners(vec![]);
            for (says, service) in [(first, "a"), (then, "b")] {
                *answer.lock().unwrap() = says;
                let decision = owners.of(&calling_itself(service), Patience::Over);
                let Decision::Final(Some(owner)) = decision else {
                    panic!("{decision:?}");
                };
                assert_eq!(owner.service_name, service);
                let mut labels = owner.labels();
                let container = labels.find(|(name, _)| *name == "container");
                assert_eq!(container.map(|(_, value)| value), label);
            }
        }
    }

    /// A rule decides by what is known at last.
    #[test]
    fn rules_wait_too() {
        let rule = "match = { container = 'web' }\naction = 'drop'";
        let (mut owners, answer) = owners(vec![toml::from_str(rule).unwrap()]);
        let container = identity();
        assert!(matches!(
            owners.of(&container, Patience::Wait),
            Decision::Waits(Some(_))
        ));
        *answer.lock().unwrap() = known("web");
        assert_eq!(owners.of(&container, Patience::Wait), Decision::Final(None));
    }

    /// A pod's container of this image, whose pod has this label.
    fn of_image(image: &str, team: &str) -> Knowledge {
        Knowledge::Known(Arc::new(ContainerInfo {
            name: Some("web".to_owned()),
            image: Some(image.to_owned()),
            pod: Some(Arc::new(PodInfo {
                labels: [("team".to_owned(), team.to_owned())].into(),
                ..PodInfo::default()
            })),
            ..ContainerInfo::default()
        }))
    }

    /// Labels but for the service's name, which is the process's.
    fn labels(decision: &Decision) -> Vec<(String, String)> {
        let Decision::Final(Some(owner)) = decision else {
            panic!("{decision:?}");
        };
        let labels = owner.labels().filter(|(name, _)| *name != "service_name");
        labels
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Whatever is said of a container later, by a runtime that was restarted, after its image got another tag or its pod another label: it keeps
    /// its labels, for what was seen before, what was forgotten meanwhile, and what is seen for the first time.
    #[test]
    fn labels_never_change() {
        for first in [
            of_image("web:1", "a"),
            Knowledge::Unknown,
            Knowledge::Asking,
        ] {
            let (mut owners, answer) = owners(vec![]);
            owners.config.pod_labels = vec!["team".to_owned()];
            *answer.lock().unwrap() = first.clone();
            let given = labels(&owners.of(&identity(), Patience::Over));
            let is_known = |name: &str| given.iter().any(|(known, _)| known == name);
            assert_eq!(
                is_known("version") && is_known("team"),
                first == of_image("web:1", "a")
            );
            for (number, later) in [
                Knowledge::Asking,
                Knowledge::Unknown,
                of_image("web:2", "b"),
                known("renamed"),
            ]
            .into_iter()
            .enumerate()
            {
                *answer.lock().unwrap() = later;
                for other in 0..REMEMBERED.get() {
                    let program = format!("{number}-{other}");
                    let program = Program::Executable(program.as_bytes());
                    let elsewhere = Identity::of(None, program, &Declared::default()).into();
                    owners.of(&elsewhere, Patience::Wait);
                }
                for process in [identity(), calling_itself(&format!("new-{number}"))] {
                    for patience in [Patience::Glance, Patience::Wait] {
                        assert_eq!(labels(&owners.of(&process, patience)), given);
                    }
                }
            }
        }
    }

    /// Two containers of one name, one after the other, are two owners; a unit that was started again is one.
    #[test]
    fn owners_are_containers_and_units() {
        let ask = Box::new(|_: &str, _, _: &Arc<str>| known("web"));
        let mut owners = Owners::new(LabelConfig::default(), vec![], ask);
        let mut owner = |path: String| {
            let cgroup = CgroupOwner::of_path(path.as_bytes()).map(Arc::new);
            let declared = Declared::default();
            declared.set(Declaration::default());
            let identity = Identity::of(cgroup, Program::Executable(b"app"), &declared);
            owners.of(&Arc::new(identity), Patience::Wait)
        };
        let [first, second] =
            ["0", "1"].map(|digit| owner(format!("/docker/{}", digit.repeat(64))));
        assert_eq!(
            (name(&first), name(&second)),
            (("web", true), ("web", true))
        );
        assert_ne!(first, second);
        let mut unit = || owner("/system.slice/web.service".to_owned());
        assert_eq!(unit(), unit());
    }
}
