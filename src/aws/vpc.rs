//! A VPC's ways out: route tables and endpoints.

use aws_sdk_ec2::types as t;

use super::ec2::filter;
use super::{ApiError, Aws, call};

type Result<T> = std::result::Result<T, ApiError>;

/// Where a subnet's route table leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes {
    /// The id of the table.
    pub table: String,
    /// How packets leave the VPC.
    pub way_out: WayOut,
}

/// How packets leave the VPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WayOut {
    /// By this internet gateway: the subnet is public.
    InternetGateway(String),
    /// The subnet is private, and the default route leads to this NAT device, transit gateway or other.
    Other(String),
    /// The subnet is private, and has no default route.
    Nothing,
}

/// A route table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteTable {
    /// Its id.
    pub id: String,
    /// It holds for all subnets of the VPC that have no table of their own.
    pub is_main: bool,
    /// The subnets that it is the table of.
    pub subnets: Vec<String>,
    /// Its routes; a table that EC2 tells of has one at least.
    pub routes: Vec<Route>,
}

/// A route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// It holds for all IPv4 addresses that no other route is for.
    pub is_default: bool,
    /// What it leads to: `local`, `igw-...`, `nat-...`.
    pub target: String,
    /// Its target is gone.
    pub is_blackhole: bool,
}

/// Where a subnet's packets go, by the route tables of its VPC; `None`: EC2 does not say.
/// Source: <https://docs.aws.amazon.com/vpc/latest/userguide/configure-subnets.html#subnet-types>: a subnet is public if
/// its table has a route to an internet gateway.
pub fn routes_of(subnet: &str, tables: &[RouteTable]) -> Option<Routes> {
    let own = tables.iter().find(|table| table.subnets.iter().any(|id| id == subnet));
    let table = own.or_else(|| tables.iter().find(|table| table.is_main))?;
    if table.routes.is_empty() {
        return None;
    }
    let internet = table.routes.iter().find(|route| route.target.starts_with("igw-"));
    let other = table.routes.iter().find(|route| route.is_default && !route.is_blackhole);
    let way_out = match (internet, other) {
        (Some(route), _) => WayOut::InternetGateway(route.target.clone()),
        (None, Some(route)) => WayOut::Other(route.target.clone()),
        (None, None) => WayOut::Nothing,
    };
    Some(Routes { table: table.id.clone(), way_out })
}

/// A VPC endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: String,
    /// `com.amazonaws.eu-west-3.s3`.
    pub service: String,
    /// The route tables that lead to it; none, of one that has addresses in subnets.
    pub tables: Vec<String>,
}

impl Endpoint {
    /// Whether a subnet with this route table reaches S3 by it.
    pub fn leads_to_s3(&self, table: &str) -> bool {
        self.service.ends_with(".s3") && (self.tables.is_empty() || self.tables.iter().any(|id| id == table))
    }
}

impl Aws {
    /// The route tables of a VPC.
    pub async fn route_tables(&self, vpc: &str) -> Result<Vec<RouteTable>> {
        let mut tables = Vec::new();
        let mut next = None;
        loop {
            let page = call("ec2:DescribeRouteTables", vpc, || {
                self.ec2
                    .describe_route_tables()
                    .filters(filter("vpc-id", vpc))
                    .set_next_token(next.clone())
                    .send()
            })
            .await?;
            tables.extend(page.route_tables.unwrap_or_default().into_iter().map(table));
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(tables);
            }
        }
    }

    /// The endpoints of a VPC that work.
    pub async fn endpoints(&self, vpc: &str) -> Result<Vec<Endpoint>> {
        let mut endpoints = Vec::new();
        let mut next = None;
        loop {
            let page = call("ec2:DescribeVpcEndpoints", vpc, || {
                self.ec2
                    .describe_vpc_endpoints()
                    .filters(filter("vpc-id", vpc))
                    .set_next_token(next.clone())
                    .send()
            })
            .await?;
            let available = |e: &t::VpcEndpoint| {
                e.state.as_ref().is_some_and(|state| state.as_str().eq_ignore_ascii_case("available"))
            };
            endpoints.extend(page.vpc_endpoints.unwrap_or_default().into_iter().filter(available).map(|e| {
                Endpoint {
                    id: e.vpc_endpoint_id.unwrap_or_default(),
                    service: e.service_name.unwrap_or_default(),
                    tables: e.route_table_ids.unwrap_or_default(),
                }
            }));
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(endpoints);
            }
        }
    }
}

fn table(table: t::RouteTable) -> RouteTable {
    let associations = table.associations.unwrap_or_default();
    RouteTable {
        id: table.route_table_id.unwrap_or_default(),
        is_main: associations.iter().any(|a| a.main == Some(true)),
        subnets: associations.into_iter().filter_map(|a| a.subnet_id).collect(),
        routes: table.routes.unwrap_or_default().into_iter().map(route).collect(),
    }
}

fn route(route: t::Route) -> Route {
    // An instance's route names its network interface besides.
    let targets = [
        route.gateway_id,
        route.nat_gateway_id,
        route.transit_gateway_id,
        route.vpc_peering_connection_id,
        route.local_gateway_id,
        route.carrier_gateway_id,
        route.core_network_arn,
        route.instance_id,
        route.network_interface_id,
    ];
    Route {
        is_default: route.destination_cidr_block.as_deref() == Some("0.0.0.0/0"),
        target: targets.into_iter().flatten().next().unwrap_or_default(),
        is_blackhole: route.state == Some(t::RouteState::Blackhole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(id: &str, subnets: &[&str], routes: &[(bool, &str)]) -> RouteTable {
        let route = |(is_default, target): &(bool, &str)| Route {
            is_default: *is_default,
            target: (*target).into(),
            is_blackhole: false,
        };
        RouteTable {
            id: id.into(),
            is_main: subnets.is_empty(),
            subnets: subnets.iter().map(|id| (*id).to_owned()).collect(),
            routes: routes.iter().map(route).collect(),
        }
    }

    #[test]
    fn a_subnet_has_its_own_table_or_the_main_one() {
        let local = (false, "local");
        let tables = [
            table("main", &[], &[local, (true, "igw-1")]),
            table("nat", &["b", "c"], &[local, (true, "nat-1")]),
            table("closed", &["d"], &[local, (false, "vpce-1")]),
            table("part", &["e"], &[local, (true, "tgw-1"), (false, "igw-2")]),
        ];
        for (subnet, id, way_out) in [
            ("a", "main", WayOut::InternetGateway("igw-1".into())),
            ("b", "nat", WayOut::Other("nat-1".into())),
            ("c", "nat", WayOut::Other("nat-1".into())),
            ("d", "closed", WayOut::Nothing),
            // Any route to an internet gateway makes it public.
            ("e", "part", WayOut::InternetGateway("igw-2".into())),
        ] {
            let routes = routes_of(subnet, &tables).unwrap();
            assert_eq!((routes.table.as_str(), routes.way_out), (id, way_out), "{subnet}");
        }
        assert_eq!(routes_of("a", &tables[1..]), None);
        assert_eq!(routes_of("a", &[table("main", &[], &[])]), None);
    }

    #[test]
    fn a_route_to_what_is_gone_is_no_way_out() {
        let mut tables = [table("main", &[], &[(false, "local"), (true, "nat-1")])];
        tables[0].routes[1].is_blackhole = true;
        assert_eq!(routes_of("a", &tables).unwrap().way_out, WayOut::Nothing);
    }

    #[test]
    fn an_endpoint_is_for_its_tables_or_for_all() {
        let endpoint = |service: &str, tables: &[&str]| Endpoint {
            id: "vpce-1".into(),
            service: format!("com.amazonaws.eu-west-3.{service}"),
            tables: tables.iter().map(|id| (*id).to_owned()).collect(),
        };
        assert!(endpoint("s3", &["rtb-1"]).leads_to_s3("rtb-1") && endpoint("s3", &[]).leads_to_s3("rtb-1"));
        assert!(
            !endpoint("s3", &["rtb-2"]).leads_to_s3("rtb-1") && !endpoint("sqs", &[]).leads_to_s3("rtb-1")
        );
    }
}
