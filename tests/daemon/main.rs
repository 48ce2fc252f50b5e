//! Sentences about the daemon: each test runs the real binary on real files and looks at the world.
