//! What should exist: `fruitctl.toml`, with what has to be looked up once.

use super::names::Names;
use super::resources::{bootstrap, bucket, cluster, key_pair, network, roles, security_configuration};
use super::{borrowed, zones};
use crate::aws::Aws;
use crate::config::{Config, NetworkConfig, SshCidr};
use crate::cost::PricedNodes;
use crate::error::{Error, Kind, Result};

/// What should exist.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Names and mark.
    pub names: Names,
    pub bucket: bucket::Spec,
    /// EMR's role.
    pub service_role: roles::Spec,
    /// The nodes' role and profile.
    pub node_role: roles::Spec,
    /// Who may log in, if anybody.
    pub key_pair: Option<key_pair::Spec>,
    /// Security groups.
    pub network: network::Spec,
    /// IMDSv2.
    pub security_configuration: security_configuration::Spec,
    /// Bootstrap actions.
    pub bootstrap: Vec<bootstrap::Script>,
    /// As configured; of a run on a cluster that stands and is otherwise, as that one is.
    pub cluster: cluster::Spec,
    /// What is worth knowing of what the cluster uses of somebody else's, where it was looked at.
    pub borrowed: Vec<String>,
    /// The cluster that `cluster` was made to fit, where it is not what is configured: no other is asked for by it.
    pub fitted_to: Option<String>,
}

impl Spec {
    /// From the configuration, and from what has to be looked up: the account, subnets, the caller's address, the
    /// key on this machine, the scripts.
    pub async fn resolve(config: &Config, aws: &Aws) -> Result<Spec> {
        Spec::with(config, &config.network, aws).await
    }

    async fn with(config: &Config, network: &NetworkConfig, aws: &Aws) -> Result<Spec> {
        let names = Names::new(config, aws)?;
        cluster::check(config, &aws.region)?;
        let bucket = bucket::Spec::new(&names, &config.bucket);
        let bootstrap = bootstrap::read(&config.cluster.bootstrap, &bucket.name, &aws.region)?;
        // A key for a closed door would be left by every CI job, for each is another machine.
        let closed = config.network.ssh_cidr == SshCidr::Closed;
        let key_pair = if closed { None } else { Some(key_pair::Spec::resolve(&names, &config.key)?) };
        let key = key_pair.as_ref().map(|pair| pair.name.as_str());
        let network = network::Spec::resolve(&names, network, key, aws).await?;
        let service_role = roles::Spec::service(&names, config);
        let node_role = roles::Spec::node(&names, config, &bucket);
        let security_configuration = security_configuration::Spec::new(&names);
        let cluster = cluster::Spec::new(&config.cluster)?;
        Ok(Spec {
            names,
            bucket,
            service_role,
            node_role,
            key_pair,
            network,
            security_configuration,
            bootstrap,
            cluster,
            borrowed: Vec::new(),
            fitted_to: None,
        })
    }

    /// The same for whoever changes nothing: nobody asks for this machine's address, which need not be known.
    pub async fn to_read(config: &Config, aws: &Aws) -> Result<Spec> {
        let network = NetworkConfig { ssh_cidr: SshCidr::Closed, ..config.network.clone() };
        Spec::with(config, &network, aws).await
    }

    /// The same for a launch: only with subnets in which the cluster can be.
    ///
    /// # Errors
    /// Besides those of [`Spec::resolve`], where no zone has all instance types of the cluster, or where what it borrows is not
    /// there or does not fit.
    pub async fn to_launch(config: &Config, aws: &Aws) -> Result<Spec> {
        let mut spec = Spec::resolve(config, aws).await?;
        match spec.fit(aws).await {
            // A cluster that stays has what it borrowed, and needs no other zone.
            Err(error) if error.kind == Kind::Usage && spec.stands(aws).await? => {
                spec.borrowed = vec![format!("the next cluster could not start: {}", error.message)];
            }
            fitted => fitted?,
        }
        Ok(spec)
    }

    /// Looks whether the cluster can be launched, and where.
    async fn fit(&mut self, aws: &Aws) -> Result<()> {
        zones::fit(&mut self.network, &self.cluster, aws).await?;
        self.borrowed = borrowed::check(&self.network, &self.cluster, aws).await?;
        Ok(())
    }

    /// Whether a cluster stands that no plan would replace.
    async fn stands(&self, aws: &Aws) -> Result<bool> {
        let living = cluster::living(&self.names, aws).await?;
        let Some(found) = living.into_iter().find(cluster::is_standing) else { return Ok(false) };
        let found = aws.inspect_cluster(found).await?;
        let groups = network::observe(&self.names, &self.network, aws).await?;
        Ok(!cluster::is_replaced(&self.wanted_cluster(), &groups, &found))
    }

    /// The same for a run: on the cluster that stands, as it is; or, where there is none or `one_shot`, as for a launch.
    /// Second: how that cluster differs from what is configured, which is no reason not to use it.
    pub async fn for_run(config: &Config, one_shot: bool, aws: &Aws) -> Result<(Spec, Option<String>)> {
        let mut spec = Spec::resolve(config, aws).await?;
        spec.node_role.keep_attached();
        let living = if one_shot { Vec::new() } else { cluster::living(&spec.names, aws).await? };
        let Some(found) = living.into_iter().find(cluster::is_standing) else {
            spec.fit(aws).await?;
            return Ok((spec, None));
        };
        let found = aws.inspect_cluster(found).await?;
        let groups = network::observe(&spec.names, &spec.network, aws).await?;
        let differs = cluster::differences(&spec.wanted_cluster(), &groups, &found);
        if differs.is_empty() {
            // It may end before it has the step, and another be asked for. A run on it needs no zone.
            let _ = spec.fit(aws).await;
            return Ok((spec, None));
        }
        let note = format!(
            "cluster {} is used as it stands, and fruitctl.toml says otherwise: {}; fruitctl up changes it",
            found.id,
            differs.join("; ")
        );
        spec.cluster = spec.cluster.fit_to(&found);
        spec.fitted_to = Some(found.id);
        Ok((spec, Some(note)))
    }

    /// Before a cluster is asked for.
    ///
    /// # Errors
    /// [`Kind::Refused`], where the run was prepared for one that stood, and not for what is configured.
    pub fn may_launch(&self) -> Result<()> {
        match &self.fitted_to {
            None => Ok(()),
            Some(id) => Err(Error::new(
                Kind::Refused,
                format!(
                    "cluster {id}, which stood there, ends or has ended, and fruitctl.toml describes another one: none \
                     was asked for"
                ),
            )
            .help("the same command again starts one as fruitctl.toml says")),
        }
    }

    /// What the price of the cluster depends on.
    pub fn nodes(&self) -> PricedNodes<'_> {
        self.cluster.nodes(!self.network.is_private)
    }

    /// The cluster, with what it stands on.
    pub fn wanted_cluster(&self) -> cluster::Wanted<'_> {
        cluster::Wanted {
            names: &self.names,
            bucket: &self.bucket.name,
            service_role: &self.service_role.name,
            node_role: &self.node_role.name,
            key_pair: self.key_pair.as_ref().map(|pair| pair.name.as_str()),
            network: &self.network,
            security_configuration: &self.security_configuration.name,
            bootstrap: &self.bootstrap,
            cluster: &self.cluster,
        }
    }
}
