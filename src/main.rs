//! The executable: one call of the library.

fn main() {
    fruitctl::main()
}
