package org.pytorch.serve.grpcimpl;

import io.grpc.ForwardingServerCall.SimpleForwardingServerCall;
import io.grpc.Grpc;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import org.pytorch.serve.http.Session;
import org.pytorch.serve.util.ConnectorType;
import org.pytorch.serve.util.TokenAuthorization;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Lets a gRPC call in: refuses streams, asks for a token where tokens are on, writes the access log.
 *
 * <p>One thing differs from TorchServe's own class of this name: StreamPredictions and StreamPredictions2 are refused.
 * TorchServe 0.12 expects the mark {@code ts_stream_next} in the answer to a stream and throws a NullPointerException
 * where the handler gave none (GRPCJob.response): the worker is lost, and its whole batch with it. A handler cannot tell
 * such a request from an ordinary one. Found by tests/fuzz/test_grpc_fuzz.py. Why at all: docs/adr/0002.
 */
public class GRPCInterceptor implements ServerInterceptor {
    private static final Metadata.Key<String> TOKEN =
            Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    private static final Logger ACCESS_LOG = LoggerFactory.getLogger("ACCESS_LOG");
    private static final String STREAMS = "InferenceAPIsService/StreamPredictions";

    private final TokenAuthorization.TokenType tokenType;

    /** Guards the calls of one port. */
    public GRPCInterceptor(ConnectorType connectorType) {
        tokenType =
                connectorType == ConnectorType.MANAGEMENT_CONNECTOR
                        ? TokenAuthorization.TokenType.MANAGEMENT
                        : TokenAuthorization.TokenType.INFERENCE;
    }

    @Override
    public <ReqT, RespT> ServerCall.Listener<ReqT> interceptCall(
            ServerCall<ReqT, RespT> call, Metadata headers, ServerCallHandler<ReqT, RespT> next) {
        String method = call.getMethodDescriptor().getFullMethodName();
        if (method.contains(STREAMS)) {
            return refuse(call, Status.UNIMPLEMENTED.withDescription("streams are not served; call Predictions"));
        }
        if (TokenAuthorization.isEnabled() && !isTokenRight(headers.get(TOKEN))) {
            return refuse(
                    call,
                    Status.PERMISSION_DENIED.withDescription(
                            "Token Authorization failed. Token either incorrect, expired, or not provided correctly"));
        }
        Session session = new Session(String.valueOf(call.getAttributes().get(Grpc.TRANSPORT_ATTR_REMOTE_ADDR)), method);
        return next.startCall(
                new SimpleForwardingServerCall<ReqT, RespT>(call) {
                    @Override
                    public void close(Status status, Metadata trailers) {
                        session.setCode(status.getCode().value());
                        ACCESS_LOG.info("{}", session);
                        super.close(status, trailers);
                    }
                },
                headers);
    }

    private boolean isTokenRight(String header) {
        return header != null
                && TokenAuthorization.checkTokenAuthorization(
                        TokenAuthorization.parseTokenFromBearerTokenHeader(header), tokenType);
    }

    private static <ReqT, RespT> ServerCall.Listener<ReqT> refuse(ServerCall<ReqT, RespT> call, Status status) {
        call.close(status, new Metadata());
        return new ServerCall.Listener<ReqT>() {};
    }
}
