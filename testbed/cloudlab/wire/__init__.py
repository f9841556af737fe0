"""How a call comes in and its reply goes out: TLS, XML-RPC, the dispatcher."""
