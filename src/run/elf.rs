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

/// The newest version of glibc's symbols that is asked for. Only the strings of dynamic linking are looked through; all
/// of a file whose sections are not to be found.
pub fn glibc(program: &[u8]) -> (u32, u32) {
    const MARK: &[u8] = b"GLIBC_2.";
    let mut newest = (2, 0);
    let mut rest = version_names(program).unwrap_or(program);
    while let Some(at) = rest.windows(MARK.len()).position(|window| window == MARK) {
        rest = &rest[at + MARK.len()..];
        let digits: String = rest.iter().take_while(|b| b.is_ascii_digit()).map(|b| *b as char).collect();
        newest = newest.max((2, digits.parse().unwrap_or(0)));
    }
    newest
}

/// The strings that the versions of needed symbols are named by: those that section `.gnu.version_r` links to.
/// Sources: man 5 elf (Elf64_Ehdr, Elf64_Shdr); SHT_GNU_verneed is 0x6ffffffe in glibc's elf.h.
fn version_names(program: &[u8]) -> Option<&[u8]> {
    fn number(bytes: &[u8], at: usize, len: usize) -> Option<usize> {
        let part = bytes.get(at..at.checked_add(len)?)?;
        Some(part.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b)))
    }
    let (table, size, count) = (number(program, 40, 8)?, number(program, 58, 2)?, number(program, 60, 2)?);
    let section = |index: usize| program.get(table.checked_add(index * size)?..)?.get(..size);
    let needed = (0..count).filter_map(section).find(|s| number(s, 4, 4) == Some(0x6fff_fffe))?;
    let strings = section(number(needed, 40, 4)?)?;
    program.get(number(strings, 24, 8)?..)?.get(..number(strings, 32, 8)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_says_what_it_needs() {
        let us = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(arch(&us), Some(if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 }));
        assert!(glibc(&us) > (2, 10) || cfg!(target_env = "musl"));
        // A name that is anywhere else says nothing.
        assert_eq!(
            glibc(&[us, b"GLIBC_2.99".to_vec()].concat()),
            glibc(&std::fs::read(std::env::current_exe().unwrap()).unwrap())
        );
        assert_eq!(arch(b"#!/bin/sh"), None);
        assert_eq!(glibc(b"..GLIBC_2.17\0GLIBC_2.34\0GLIBC_2.4\0"), (2, 34));
    }
}
