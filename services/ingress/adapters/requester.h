// Who waits for the answers of lookup and queue: a client's connection.
#pragma once

#include "libs/routing/resolve_client.h"
#include "libs/submission/enqueue_client.h"

namespace postfleet::ingress {

class Requester : public submission::Requester, public routing::Requester {};

}  // namespace postfleet::ingress
