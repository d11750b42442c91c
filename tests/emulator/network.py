"""Subnets and the ways out of them: what EMR asks of a private one, and what every default VPC has."""

from moto.ec2.models import EC2Backend

# Sources of the texts: hashicorp/terraform-provider-aws#14338 (both, of release 5.30.1), hashicorp/terraform#9518.
NO_GROUP = "You must also specify a ServiceAccessSecurityGroup if you use custom security groups when creating a cluster in a private subnet."
NO_INGRESS = "ServiceAccessSecurityGroup is missing ingress rule from EmrManagedMasterSecurityGroup on port 9443"
# Guess: such a rule is asked for (https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-man-sec-groups.html), and
# no report has the text.
NO_EGRESS = "ServiceAccessSecurityGroup is missing egress rule to {} on port 8443"
# Guess: no page says what becomes of a fleet whose subnets are of both kinds.
MIXED = "The VPC/subnet configuration was invalid: Subnets must be all public or all private"
MANAGED = "EmrManagedMasterSecurityGroup", "EmrManagedSlaveSecurityGroup"


def route_table(ec2, subnet):
    """A subnet's own route table, or else the main one of its VPC.

    Source: https://docs.aws.amazon.com/vpc/latest/userguide/subnet-route-tables.html
    """
    tables = [table for table in ec2.route_tables.values() if table.vpc_id == subnet.vpc_id]
    own = [table for table in tables if any(a.get("SubnetId") == subnet.id for a in table.associations)]
    return (own or [table for table in tables if table.main_association_id])[0]


def is_private(ec2, subnet):
    """No route leads to an internet gateway.

    Source: https://docs.aws.amazon.com/vpc/latest/userguide/configure-subnets.html#subnet-types
    """
    return not any((route.gateway_id or "").startswith("igw-") for route in route_table(ec2, subnet).routes)


def unusable(ec2, instances, subnets, release):
    """What EMR finds out about a cluster's subnets and its groups, which are there; or None."""
    private = {is_private(ec2, subnet) for subnet in subnets}
    if len(private) > 1:
        return MIXED
    if private != {True}:
        # Guess: of a cluster in a public subnet, an access group is not looked at.
        return None
    managed, access = [instances.get(name) for name in MANAGED], instances.get("ServiceAccessSecurityGroup")
    if access is None:
        return NO_GROUP if any(managed) else None
    group = ec2.get_security_group_from_id(access)
    # Source: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-man-sec-groups.html
    if tuple(map(int, release.removeprefix("emr-").split("."))) >= (5, 30) and not leads(group.ingress_rules, managed[0], 9443):
        return NO_INGRESS
    for name, other in zip(MANAGED, managed):
        if not leads(group.egress_rules, other, 8443):
            return NO_EGRESS.format(name)
    return None


def leads(rules, group, port):
    """Whether a rule is about TCP at this port, and about this group or everything."""
    return any(
        rule.ip_protocol in ("-1", "tcp") and (rule.ip_protocol == "-1" or int(rule.from_port) <= port <= int(rule.to_port))
        and (rule.source_group.get("GroupId") == group or rule.ip_range.get("CidrIp") == "0.0.0.0/0") for rule in rules)


def create_default_vpc(self, create=EC2Backend.create_default_vpc):
    """A default VPC has an internet gateway, and a route to it in its main table; moto's has none.

    Source: https://docs.aws.amazon.com/vpc/latest/userguide/default-vpc.html
    """
    vpc = create(self)
    gateway = self.create_internet_gateway()
    self.attach_internet_gateway(gateway.id, vpc.id)
    (main,) = [table for table in self.route_tables.values() if table.vpc_id == vpc.id and table.main_association_id]
    self.create_route(main.id, "0.0.0.0/0", gateway_id=gateway.id)
    return vpc


EC2Backend.create_default_vpc = create_default_vpc
