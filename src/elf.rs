//! What a Linux program needs of the machine that it is to run on.

use crate::instances::Arch;

/// Processors, from the ELF header; none of a file that is no 64-bit Linux program for x86-64 or aarch64.
/// Source: man 5 elf, e_machine.
pub fn arch(program: &[u8]) -> Option<Arch> {
    if !program.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    match program.get(18..20)? {
        [0x3e, 0] => Some(Arch::X86_64),
        [0xb7, 0] => Some(Arch::Aarch64),
        _ => None,
    }
}

/// The newest version of glibc's symbols that is asked for.
pub fn glibc(program: &[u8]) -> (u32, u32) {
    const MARK: &[u8] = b"GLIBC_2.";
    let mut newest = (2, 0);
    let mut rest = program;
    while let Some(at) = rest.windows(MARK.len()).position(|window| window == MARK) {
        rest = &rest[at + MARK.len()..];
        let digits: String = rest.iter().take_while(|b| b.is_ascii_digit()).map(|b| *b as char).collect();
        newest = newest.max((2, digits.parse().unwrap_or(0)));
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_says_what_it_needs() {
        let us = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(arch(&us), Some(if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 }));
        assert!(glibc(&us) > (2, 10) || cfg!(target_env = "musl"));
        assert_eq!(arch(b"#!/bin/sh"), None);
        assert_eq!(glibc(b"..GLIBC_2.17\0GLIBC_2.34\0GLIBC_2.4\0"), (2, 34));
    }
}
