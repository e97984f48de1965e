//! Who made a pod, by what the pod itself tells.

use std::collections::BTreeMap;

/// Letters of the hashes that Kubernetes puts into names: no vowels, so that no word comes of them.
const HASH_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of the random end of a pod's name.
const RANDOM: usize = 5;
/// Digits of the minute that a CronJob puts behind its jobs' names: minutes since 1970 have eight until the year 2160.
const MINUTE: usize = 8;

/// Name of the Deployment, StatefulSet, DaemonSet, Job or CronJob that made the pod `name`, as far as its labels tell.
pub(super) fn workload_of_labels(name: &str, labels: &BTreeMap<String, String>) -> Option<String> {
    let label = |key| {
        labels
            .get(key)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    };
    if let Some(job) = label("batch.kubernetes.io/job-name").or_else(|| label("job-name")) {
        return Some(cron_job(job).unwrap_or(job).to_owned());
    }
    // A pod of a replica set is called `<deployment>-<hash>-<random>`, and carries the hash.
    if let Some(hash) = label("pod-template-hash").or_else(|| label("rollouts-pod-template-hash")) {
        return replica_set(name)?
            .strip_suffix(hash)?
            .strip_suffix('-')
            .map(str::to_owned);
    }
    if label("controller-revision-hash").is_some() {
        // A StatefulSet numbers its pods, a DaemonSet's have random ends.
        let (base, end) = name.rsplit_once('-')?;
        let is_number = !end.is_empty() && end.bytes().all(|c| c.is_ascii_digit());
        let of_set = if label("statefulset.kubernetes.io/pod-name").is_some() {
            is_number
        } else {
            is_number || is_random(end)
        };
        return of_set.then(|| base.to_owned());
    }
    None
}

/// The same by the name alone: one that looks as if a Deployment had made it.
pub(super) fn workload_of_name(name: &str) -> Option<String> {
    let (deployment, hash) = replica_set(name)?.rsplit_once('-')?;
    let is_hash = (6..=10).contains(&hash.len()) && hash.bytes().all(|c| HASH_LETTERS.contains(&c));
    (is_hash && !deployment.is_empty()).then(|| deployment.to_owned())
}

/// Name of the workload by the owner that the API server names: the maker of a replica set is not named, nor that of a job.
pub(super) fn workload_of_owner(
    kind: &str,
    owner: &str,
    labels: &BTreeMap<String, String>,
) -> String {
    let maker = match kind {
        "ReplicaSet" => ["pod-template-hash", "rollouts-pod-template-hash"]
            .iter()
            .find_map(|key| {
                owner
                    .strip_suffix(labels.get(*key)?.as_str())?
                    .strip_suffix('-')
            }),
        "Job" => cron_job(owner),
        _ => None,
    };
    maker.unwrap_or(owner).to_owned()
}

/// Name of the replica set in the name of its pod.
fn replica_set(pod: &str) -> Option<&str> {
    let (set, random) = pod.rsplit_once('-')?;
    is_random(random).then_some(set)
}

fn is_random(end: &str) -> bool {
    end.len() == RANDOM && end.bytes().all(|c| HASH_LETTERS.contains(&c))
}

/// Name of the CronJob in the name of one of its jobs.
fn cron_job(job: &str) -> Option<&str> {
    let (name, minute) = job.rsplit_once('-')?;
    let is_minute = minute.len() == MINUTE && minute.bytes().all(|c| c.is_ascii_digit());
    // Minutes of 2017 and later: days are written with eight digits too, and are less until the year 2470.
    (is_minute && minute > "24700000").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    /// The names and labels that the controllers of Kubernetes give, a maker each.
    #[test]
    fn labels_tell_the_workload() {
        for (pod, pairs, workload) in [
            (
                "cart-5d9f8b7c6d-x2x4z",
                &[("pod-template-hash", "5d9f8b7c6d")][..],
                Some("cart"),
            ),
            (
                "cart-api-v2-5d9f8b7c6d-x2x4z",
                &[("rollouts-pod-template-hash", "5d9f8b7c6d")],
                Some("cart-api-v2"),
            ),
            (
                "db-0",
                &[
                    ("controller-revision-hash", "db-6c8f"),
                    ("statefulset.kubernetes.io/pod-name", "db-0"),
                ],
                Some("db"),
            ),
            (
                "node-exporter-q7wxz",
                &[("controller-revision-hash", "7d9c")],
                Some("node-exporter"),
            ),
            ("import-8xw2p", &[("job-name", "import")], Some("import")),
            (
                "backup-29391230-8xw2p",
                &[("batch.kubernetes.io/job-name", "backup-29391230")],
                Some("backup"),
            ),
            (
                "report-20251121-8xw2p",
                &[("job-name", "report-20251121")],
                Some("report-20251121"),
            ),
            ("alone", &[("app", "alone")], None),
            // Labels that were copied to another pod.
            ("alone", &[("pod-template-hash", "5d9f8b7c6d")], None),
            ("alone", &[("controller-revision-hash", "x")], None),
            ("cart-5d9f8b7c6d-x2x4z", &[("app", "cart")], None),
        ] {
            let found = workload_of_labels(pod, &labels(pairs));
            assert_eq!(found.as_deref(), workload, "{pod} {pairs:?}");
        }
    }

    /// Without labels only what has both a hash and a random end is taken for a Deployment's.
    #[test]
    fn names_tell_deployments() {
        for (pod, workload) in [
            ("cart-5d9f8b7c6d-x2x4z", Some("cart")),
            ("my-cart-79c5f4d8-x2x4z", Some("my-cart")),
            ("cart-x2x4z", None),
            ("db-0", None),
            ("cart-backend-x2x4z", None),
            ("-5d9f8b7c6d-x2x4z", None),
        ] {
            assert_eq!(workload_of_name(pod).as_deref(), workload, "{pod}");
        }
    }

    /// Of owners the API server names only the nearest.
    #[test]
    fn owners_tell_the_workload() {
        let hash = labels(&[("pod-template-hash", "5d9f8b7c6d")]);
        for (kind, owner, labels, workload) in [
            ("ReplicaSet", "cart-5d9f8b7c6d", &hash, "cart"),
            ("ReplicaSet", "bare", &labels(&[]), "bare"),
            ("Job", "backup-29391230", &labels(&[]), "backup"),
            ("Rollout", "shop", &labels(&[]), "shop"),
        ] {
            assert_eq!(workload_of_owner(kind, owner, labels), workload, "{owner}");
        }
    }
}
