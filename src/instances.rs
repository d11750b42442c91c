//! What the name of an instance type says.
//! Source: https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html

/// Processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// Intel and AMD.
    X86_64,
    /// Graviton.
    Aarch64,
}

impl Arch {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86-64",
            Arch::Aarch64 => "aarch64 (Graviton)",
        }
    }

    /// As in the names of Rust's targets.
    pub fn target(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        }
    }

    /// As EC2 tells it of machine images.
    /// Source: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Image.html>.
    pub fn ec2(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "arm64",
        }
    }

    /// Of an instance type.
    pub fn of(kind: &str) -> Arch {
        let family = kind.split('.').next().unwrap_or(kind);
        let generation = family.find(|c: char| c.is_ascii_digit()).unwrap_or(0);
        if family[generation..].contains('g') || family == "a1" { Arch::Aarch64 } else { Arch::X86_64 }
    }
}

/// Virtual CPUs of an instance type; 2 where its size is not one of the usual.
pub fn vcpus(kind: &str) -> u32 {
    match kind.split('.').nth(1).and_then(|size| size.strip_suffix("xlarge")) {
        Some("") => 4,
        Some(n) => 4 * n.parse().unwrap_or(1),
        None => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_of_instance_types() {
        for kind in ["m6g.xlarge", "c7gd.2xlarge", "r6gn.large", "im4gn.large", "a1.large", "g5g.xlarge"] {
            assert_eq!(Arch::of(kind), Arch::Aarch64, "{kind}");
        }
        for kind in ["m5.xlarge", "c6i.large", "g4dn.xlarge", "i3en.large", "m7a.xlarge"] {
            assert_eq!(Arch::of(kind), Arch::X86_64, "{kind}");
        }
        assert_eq!(["m6g.large", "m6g.xlarge", "m6g.12xlarge"].map(vcpus), [2, 4, 48]);
    }
}
