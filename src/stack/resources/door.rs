//! Who may reach port 22 of the primary node: a rule belongs to whoever made it, and others leave it alone.
//!
//! A rule's description says who that was, by identity and key, and since when. Rules that people made by hand are
//! theirs, but for one that lets the whole internet in.

use crate::aws::Aws;
use crate::aws::ec2::SshRule;
use crate::clock;

/// How descriptions of our rules begin.
const MARK: &str = "SSH for fruitctl: ";

/// Days after which a rule has expired: its machine may have another address by now, and somebody else this one. Who
/// still needs it gets another with the next `up` or run.
const DAYS: i64 = 30;

/// Who opens it, and for whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Door {
    /// Who may reach it; empty, if it is to be closed.
    pub from: Vec<String>,
    /// Who we are.
    identity: String,
    /// Our machine's key pair; empty, where it is to be closed.
    key: String,
}

impl Door {
    /// For these addresses, made by whoever calls.
    pub fn new(from: Vec<String>, key: Option<&str>, aws: &Aws) -> Door {
        // Without what all identities of an account share.
        let caller = aws.caller.splitn(6, ':').last().unwrap_or_default();
        Door { from, identity: allowed(caller), key: allowed(key.unwrap_or_default()) }
    }

    /// For one address, whoever we are.
    #[cfg(test)]
    pub fn of_test(from: &str) -> Door {
        Door { from: vec![from.into()], identity: "user/test".into(), key: "key".into() }
    }

    /// What there is to do: the rules to take away, and those to add.
    pub fn changes(&self, seen: &[SshRule]) -> (Vec<SshRule>, Vec<SshRule>) {
        let (out, stay): (Vec<_>, Vec<_>) = seen.iter().cloned().partition(|rule| self.is_over(rule));
        let missing = self.from.iter().filter(|from| !stay.iter().any(|rule| rule.cidr == **from));
        (out, missing.map(|cidr| SshRule { cidr: cidr.clone(), about: self.about() }).collect())
    }

    /// A rule that nobody needs: one of ours for another address, one that has expired, and one for the whole internet.
    fn is_over(&self, rule: &SshRule) -> bool {
        if rule.is_worldwide() || has_expired(rule) {
            return true;
        }
        let Some(words) = rule.about.strip_prefix(MARK) else { return false };
        let mut words = words.rsplitn(3, ", ");
        let (_, key, identity) = (words.next(), words.next(), words.next());
        // A role's sessions have other names each time, and the key is this machine's; who closes it has none, and closes
        // it for all of his machines.
        let is_same_key = !self.key.is_empty() && key == Some(&self.key);
        let is_ours = is_same_key || self.from.is_empty() && identity == Some(&self.identity);
        is_ours && !self.from.contains(&rule.cidr)
    }

    fn about(&self) -> String {
        let today = clock::rfc3339(clock::now());
        format!("{MARK}{}, {}, {}", self.identity, self.key, today.split('T').next().unwrap_or_default())
    }
}

/// Whether a rule is one of ours, whoever's, and too old.
pub fn has_expired(rule: &SshRule) -> bool {
    // Without a date, as the first builds wrote it.
    if rule.about == MARK.trim_end_matches(": ") {
        return true;
    }
    let Some(words) = rule.about.strip_prefix(MARK) else { return false };
    words.rsplit(", ").next().and_then(clock::days_since).is_none_or(|days| days > DAYS)
}

/// What the description of a rule may hold, at most 255 characters in all; a comma ends a part of ours.
/// Source: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpRange.html>.
fn allowed(text: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-:/@+=".contains(c);
    text.chars().take(100).map(|c| if is_allowed(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(from: Option<&str>, identity: &str, key: &str) -> Door {
        let from = from.into_iter().map(str::to_owned).collect();
        Door { from, identity: identity.into(), key: key.into() }
    }

    fn rule(cidr: &str, about: &str) -> SshRule {
        SshRule { cidr: cidr.into(), about: about.into() }
    }

    /// `cidr` of those that go, and of the one that comes.
    fn told(door: &Door, seen: &[SshRule]) -> (Vec<String>, Option<String>) {
        let (out, mut missing) = door.changes(seen);
        assert!(missing.len() < 2);
        (out.into_iter().map(|rule| rule.cidr).collect(), missing.pop().map(|rule| rule.cidr))
    }

    #[test]
    fn others_rules_are_theirs() {
        let ana = door(Some("203.0.113.7/32"), "user/ana", "k1");
        let (_, hers) = ana.changes(&[]);
        let mut seen = vec![hers[0].clone(), rule("198.51.100.0/24", "the office")];
        assert_eq!(told(&ana, &seen), (vec![], None));
        // A colleague, and a job that needs no door, change nothing of hers.
        let ben = door(Some("203.0.113.9/32"), "user/ben", "k2");
        assert_eq!(told(&ben, &seen), (vec![], Some("203.0.113.9/32".into())));
        assert_eq!(told(&door(None, "assumed-role/ci/run", ""), &seen), (vec![], None));
        // Nor does she on another machine; there, and here again, her own address moves.
        let desk = door(Some("203.0.113.8/32"), "user/ana", "k3");
        assert_eq!(told(&desk, &seen), (vec![], Some("203.0.113.8/32".into())));
        let moved = Door { from: vec!["203.0.113.99/32".into()], ..ana.clone() };
        assert_eq!(told(&moved, &seen), (vec!["203.0.113.7/32".into()], Some("203.0.113.99/32".into())));
        // Under another session's name, her machine is the same.
        let again = door(Some("203.0.113.99/32"), "user/session-2", "k1");
        assert_eq!(told(&again, &seen).0, ["203.0.113.7/32"]);
        // She closes it: on all of her machines, and nobody else's.
        seen.extend(desk.changes(&[]).1);
        seen.extend(ben.changes(&[]).1);
        let closed = door(None, "user/ana", "");
        assert_eq!(told(&closed, &seen).0, ["203.0.113.7/32", "203.0.113.8/32"]);
    }

    #[test]
    fn the_world_and_what_has_expired_go() {
        let ana = door(Some("203.0.113.7/32"), "user/ana", "k1");
        let world = [rule("0.0.0.0/0", "by hand"), rule("::/0", "")];
        assert_eq!(told(&ana, &world).0, ["0.0.0.0/0", "::/0"]);
        for old in
            ["SSH for fruitctl: user/ben, k2, 2025-01-01", "SSH for fruitctl: what", "SSH for fruitctl"]
        {
            assert_eq!(told(&ana, &[rule("203.0.113.9/32", old)]).0, ["203.0.113.9/32"]);
            assert!(has_expired(&rule("203.0.113.9/32", old)));
        }
        assert!(!has_expired(&ana.changes(&[]).1[0]) && !has_expired(&rule("203.0.113.9/32", "the office")));
        // Her own is made anew.
        let (out, missing) =
            ana.changes(&[rule("203.0.113.7/32", "SSH for fruitctl: user/ana, k1, 2025-01-01")]);
        assert_eq!((out.len(), missing.len()), (1, 1));
    }

    #[test]
    fn several_ranges_are_rules_of_their_own() {
        let both = ["203.0.113.0/24", "198.51.100.0/24"].map(str::to_owned).to_vec();
        let office = Door { from: both.clone(), ..door(None, "user/ana", "k1") };
        let (out, rules) = office.changes(&[]);
        assert_eq!(
            (out.len(), rules.iter().map(|rule| &rule.cidr).collect::<Vec<_>>()),
            (0, both.iter().collect())
        );
        assert_eq!(office.changes(&rules), (vec![], vec![]));
        let fewer = Door { from: both[..1].to_vec(), ..office };
        assert_eq!(told(&fewer, &rules), (vec!["198.51.100.0/24".into()], None));
    }

    #[test]
    fn a_description_holds_what_it_may() {
        let long = door(None, &allowed(&"é, ".repeat(200)), &allowed("fruitctl-fruits-0123abcd"));
        assert!(long.about().len() <= 255 && long.about().is_ascii(), "{}", long.about());
        assert_eq!(long.about().matches(", ").count(), 2);
    }
}
