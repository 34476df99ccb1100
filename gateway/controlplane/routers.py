"""Every router of FastAPI's, in the order in which its paths are tried."""

from gateway.controlplane.application_routes import router as application_router
from gateway.controlplane.audit import router as audit_router
from gateway.controlplane.breakglass_routes import router as breakglass_router
from gateway.controlplane.contact_routes import router as contact_router
from gateway.controlplane.contents_routes import router as contents_router
from gateway.controlplane.identity_routes import router as identity_router
from gateway.controlplane.institution_routes import router as institution_router
from gateway.controlplane.leaks import router as leaks_router
from gateway.controlplane.login_routes import router as login_router
from gateway.controlplane.me_routes import router as me_router
from gateway.controlplane.notice_routes import router as notice_router
from gateway.controlplane.receipts import router as receipts_router
from gateway.controlplane.routes import router
from gateway.controlplane.tier_routes import router as tier_router
from gateway.controlplane.transfer_routes import router as transfer_router
from gateway.controlplane.verification_routes import router as verification_router
from gateway.controlplane.visa_routes import router as visa_router

ROUTERS = (
    router,
    tier_router,
    verification_router,
    application_router,
    breakglass_router,
    identity_router,
    login_router,
    me_router,
    contact_router,
    institution_router,
    notice_router,
    transfer_router,
    visa_router,
    audit_router,
    receipts_router,
    leaks_router,
    contents_router,
)
