//! What replaces a cluster, what changes it where it is, and what does not matter: a table each.

use super::*;
use crate::aws::ec2::Subnet;
use crate::aws::emr::ClusterState;
use crate::config::{Classification, Config};

fn spec(text: &str) -> Result<Spec> {
    Spec::new(&Config::parse(text, std::path::Path::new("f.toml")).unwrap().cluster)
}

#[test]
fn spot_and_several_types_make_fleets() {
    assert!(!spec("").unwrap().fleets);
    assert!(spec("[cluster.task]\nspot = true\n").unwrap().fleets);
    assert!(spec("[cluster.core]\ntypes = [\"m6g.xlarge\", \"m5.xlarge\"]\n").unwrap().fleets);
    assert_eq!(spec("[cluster.task]\ncount = 0\n").unwrap().workforce.len(), 2);
}

#[test]
fn what_emr_would_refuse_is_refused_here() {
    for (text, words) in [
        ("[cluster.primary]\ncount = 3\n", "count has to be 1"),
        ("[cluster.task]\ntypes = [\"big\"]\n", "[cluster.task]"),
        ("[cluster]\nidle_minutes = 20000\n", "week"),
    ] {
        let message = spec(text).unwrap_err().to_string();
        assert!(message.contains(words) && message.contains("fruitctl.toml"), "{message}");
    }
}

/// A project, what it wants, and a cluster that is just so.
struct World {
    names: Names,
    network: network::Spec,
    scripts: Vec<Script>,
    cluster: Spec,
    groups: Vec<Group>,
    found: Existing,
}

impl World {
    fn new(text: &str) -> World {
        let names = Names {
            project: "fruits".into(),
            region: "eu-west-3".into(),
            account: "1".into(),
            more_tags: [].into(),
        };
        let subnet = |id: &str| Subnet {
            id: id.into(),
            vpc: "vpc-1".into(),
            zone: "eu-west-3a".into(),
            free: 250,
            gives_addresses: true,
            routes: None,
        };
        let network = network::Spec {
            subnets: vec![subnet("subnet-1"), subnet("subnet-2")],
            is_private: false,
            unread: None,
            door: Default::default(),
            primary: "fruitctl-fruits-primary".into(),
            workers: "fruitctl-fruits-workers".into(),
            access: "fruitctl-fruits-access".into(),
            additional_primary: Vec::new(),
            additional_workers: Vec::new(),
        };
        let group = |id: &str, name: &str| {
            let mut group = Group::default();
            (group.id, group.name, group.vpc) = (id.into(), name.into(), "vpc-1".into());
            group
        };
        let scripts = vec![Script {
            name: "hostkeys.sh".into(),
            key: "bootstrap/abc/hostkeys.sh".into(),
            content: Vec::new(),
            args: vec!["bucket".into()],
        }];
        let cluster = spec(text).unwrap();
        let mut world = World {
            groups: vec![group("sg-1", &network.primary), group("sg-2", &network.workers)],
            names,
            network,
            scripts,
            cluster: cluster.clone(),
            found: Existing {
                id: "j-1".into(),
                status: crate::aws::emr::Status { state: ClusterState::Waiting, ..Default::default() },
                primary_dns: None,
                zone: None,
                cluster: Cluster {
                    name: "fruitctl-fruits-1".into(),
                    tags: Tags::new(),
                    release: cluster.release.clone(),
                    applications: cluster.applications.clone(),
                    log_uri: String::new(),
                    service_role: "service".into(),
                    profile: "node".into(),
                    subnets: vec!["subnet-1".into()],
                    key_pair: "key".into(),
                    primary_group: "sg-1".into(),
                    worker_group: "sg-2".into(),
                    access_group: String::new(),
                    image: None,
                    additional_primary: Vec::new(),
                    additional_workers: Vec::new(),
                    security_configuration: "imds".into(),
                    fleets: cluster.fleets,
                    workforce: cluster.workforce.clone(),
                    configurations: cluster.configurations.clone(),
                    bootstrap: Vec::new(),
                    idle_seconds: cluster.idle_seconds,
                    scaling: cluster.scaling,
                    protected: cluster.protected,
                    root_gb: cluster.root_gb,
                    keep_alive: true,
                    steps: Vec::new(),
                },
                unread: Vec::new(),
            },
        };
        world.found.cluster.log_uri = world.wanted().log_uri();
        world.found.cluster.bootstrap = world.wanted().actions();
        world
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            names: &self.names,
            bucket: "bucket",
            service_role: "service",
            node_role: "node",
            key_pair: Some("key"),
            network: &self.network,
            security_configuration: "imds",
            bootstrap: &self.scripts,
            cluster: &self.cluster,
        }
    }

    /// What `up` would do about the cluster.
    fn change(&self) -> (Action, String) {
        let clusters = [self.found.clone()];
        let changes = diff(&self.wanted(), &clusters, &self.groups, &mut Vec::new());
        assert_eq!(changes.len(), 1);
        (changes[0].action, changes[0].reasons.join("; "))
    }
}

const FULL: &str = "[cluster.core]\ncount = 2\n[cluster.task]\ncount = 3\n";

#[test]
fn a_cluster_as_wanted_is_kept() {
    for text in
        ["", FULL, "[cluster.task]\nspot = true\n", "[cluster]\nmanaged_scaling = { min = 1, max = 4 }\n"]
    {
        assert_eq!(World::new(text).change(), (Action::Keep, String::new()), "{text}");
    }
}

/// Money and work hang on this table: whatever stands here ends a cluster.
#[test]
fn what_replaces_a_cluster() {
    let rows: [(&str, Alter); 24] = [
        ("release emr-6.3.0 -> ", |w| w.found.cluster.release = "emr-6.3.0".into()),
        ("applications Hive -> ", |w| w.found.cluster.applications = vec!["Hive".into()]),
        ("logs s3://other/logs -> s3://bucket/", |w| w.found.cluster.log_uri = "s3://other/logs".into()),
        ("service role other -> service", |w| w.found.cluster.service_role = "other".into()),
        ("node role other -> node", |w| w.found.cluster.profile = "other".into()),
        ("security configuration other -> imds", |w| w.found.cluster.security_configuration = "other".into()),
        ("root volume 99 GiB -> ", |w| w.found.cluster.root_gb = 99),
        ("bootstrap actions none -> bucket/bootstrap/abc/hostkeys.sh(bucket)", |w| {
            w.found.cluster.bootstrap.clear()
        }),
        ("bootstrap actions bucket/bootstrap/old/hostkeys.sh(bucket) -> ", |w| {
            w.found.cluster.bootstrap[0].path = "s3://bucket/bootstrap/old/hostkeys.sh".into()
        }),
        ("hostkeys.sh(bucket), whose content is not checked -> ", |w| {
            w.found.cluster.bootstrap[0].sha256 = None
        }),
        ("instances by fleets -> groups", |w| w.found.cluster.fleets = true),
        ("subnet subnet-9 -> subnet-1 or subnet-2", |w| w.found.cluster.subnets = vec!["subnet-9".into()]),
        ("primary security group sg-9 -> fruitctl-fruits-primary", |w| {
            w.found.cluster.primary_group = "sg-9".into()
        }),
        ("worker security group sg-2 -> fruitctl-fruits-workers", |w| {
            w.groups.pop();
        }),
        ("configuration spark", |w| {
            w.found.cluster.configurations.insert("spark".into(), Classification::default());
        }),
        ("machine image of the release -> ami-1", |w| w.cluster.image = Some("ami-1".into())),
        ("machine image ami-1 -> of the release", |w| w.found.cluster.image = Some("ami-1".into())),
        ("additional primary security groups none -> sg-7+sg-8", |w| {
            w.network.additional_primary = vec!["sg-7".into(), "sg-8".into()]
        }),
        ("additional worker security groups sg-7 -> none", |w| {
            w.found.cluster.additional_workers = vec!["sg-7".into()]
        }),
        ("primary nodes m1.small -> ", |w| w.found.cluster.workforce[0].types = vec!["m1.small".into()]),
        ("core nodes Spot -> on demand", |w| w.found.cluster.workforce[1].spot = true),
        ("core volumes 7 -> ", |w| w.found.cluster.workforce[1].ebs_gb = Some(7)),
        ("with core nodes", |w| {
            w.found.cluster.workforce.remove(1);
        }),
        ("no core nodes", |w| {
            w.cluster.workforce.remove(1);
        }),
    ];
    assert_each(&rows, Action::Replace);
}

/// What is otherwise in a world that is as it should be.
type Alter = fn(&mut World);

/// That each alteration of a world that is as it should be leads to this action, with this reason.
fn assert_each(rows: &[(&str, Alter)], wanted: Action) {
    for (reason, alter) in rows {
        let mut world = World::new(FULL);
        alter(&mut world);
        let (action, reasons) = world.change();
        assert!(action == wanted && reasons.contains(reason), "{action:?} {reasons}, not {reason}");
    }
}

#[test]
fn what_is_changed_in_place() {
    let rows: [(&str, Alter); 8] = [
        ("core nodes 2 -> 5", |w| w.cluster.workforce[1].count = 5),
        ("task nodes 3 -> 0", |w| {
            w.cluster.workforce.pop();
        }),
        ("task nodes 0 -> 3", |w| {
            w.found.cluster.workforce.pop();
        }),
        ("end when idle never -> after ", |w| w.found.cluster.idle_seconds = None),
        ("end when idle after 1 min -> never", |w| {
            (w.found.cluster.idle_seconds, w.cluster.idle_seconds) = (Some(60), None)
        }),
        ("managed scaling 1-9 -> none", |w| w.found.cluster.scaling = Some((1, 9))),
        ("managed scaling none -> 1-9", |w| w.cluster.scaling = Some((1, 9))),
        ("termination protection on", |w| w.cluster.protected = true),
    ];
    assert_each(&rows, Action::Update);
}

#[test]
fn what_differs_and_does_not_matter() {
    let rows: [Alter; 6] = [
        // One of the wanted subnets is as good as another.
        |w| w.found.cluster.subnets = vec!["subnet-2".into()],
        |w| w.found.cluster.workforce[0].types.reverse(),
        // EMR chooses the number.
        |w| {
            (w.cluster.scaling, w.found.cluster.scaling) = (Some((1, 9)), Some((1, 9)));
            w.found.cluster.workforce[1].count = 7;
        },
        // Of fleets, EMR does not say.
        |w| w.found.cluster.workforce[1].ebs_gb = None,
        |w| w.found.cluster.name = "fruitctl-fruits-2".into(),
        // Only a note: there are no live logs.
        |w| w.found.cluster.key_pair = "another".into(),
    ];
    for (n, alter) in rows.iter().enumerate() {
        let mut world = World::new(FULL);
        alter(&mut world);
        assert_eq!(world.change(), (Action::Keep, String::new()), "row {n}");
    }
}

#[test]
fn in_private_subnets_the_access_group_counts() {
    let mut world = World::new("");
    // What EMR says of one is of no interest in public subnets.
    world.found.cluster.access_group = "sg-9".into();
    assert_eq!(world.change().0, Action::Keep);
    world.network.is_private = true;
    let mut group = world.groups[0].clone();
    (group.id, group.name) = ("sg-3".into(), world.network.access.clone());
    world.groups.push(group);
    let (action, reasons) = world.change();
    assert_eq!(action, Action::Replace);
    assert_eq!(reasons, "access security group sg-9 -> fruitctl-fruits-access");
    world.found.cluster.access_group = "sg-3".into();
    assert_eq!(world.change().0, Action::Keep);
    // Not told is neither right nor wrong; it is said only where there has to be one.
    world.found.cluster.access_group.clear();
    world.found.unread = vec![crate::aws::emr::Unread { setting: Setting::AccessGroup, error: None }];
    for is_private in [true, false] {
        world.network.is_private = is_private;
        let mut notes = Vec::new();
        let changes = diff(&world.wanted(), &[world.found.clone()], &world.groups, &mut notes);
        assert_eq!((changes[0].action, notes.len()), (Action::Keep, usize::from(is_private)), "{notes:?}");
    }
}

#[test]
fn clusters_that_are_ending_or_a_runs_own_do_not_stand() {
    let mut world = World::new("");
    for state in [ClusterState::Terminating, ClusterState::Terminated, ClusterState::TerminatedWithErrors] {
        world.found.status.state = state;
        assert_eq!(world.change().0, Action::Create, "{state:?}");
    }
    world.found.status.state = ClusterState::Waiting;
    world.found.cluster.tags.insert(RUN.into(), "20261124-020000-4f2a".into());
    assert_eq!(world.change().0, Action::Create);
}

#[test]
fn the_oldest_cluster_stays_and_others_go() {
    let world = World::new("");
    let second = Existing { id: "j-2".into(), ..world.found.clone() };
    let changes = diff(&world.wanted(), &[world.found.clone(), second], &world.groups, &mut Vec::new());
    let lines: Vec<_> = changes.iter().map(|c| (c.action, c.name.as_str())).collect();
    assert_eq!(lines, [(Action::Keep, "j-1"), (Action::Delete, "j-2")]);
}

#[test]
fn a_tag_holds_what_it_may() {
    assert_eq!(tag_value("arn:aws:iam::1:user/ana@x"), "arn:aws:iam::1:user/ana@x");
    assert_eq!(tag_value("a*b<c>\n"), "a_b_c__");
    assert_eq!(tag_value(&"x".repeat(300)).len(), 256);
}
