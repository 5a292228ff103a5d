//! A topology in the kernel: namespaces, links, routes, firewall, overlay, internet services.
