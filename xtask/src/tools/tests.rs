//! Provisioning for real, where the machine reaches what it needs, and against doubles on this machine.
