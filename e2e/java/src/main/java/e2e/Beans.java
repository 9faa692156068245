package e2e;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;

/** Beans in and out. */
public class Beans implements RequestHandler<Order, Order> {
    private int calls;

    @Override
    public Order handleRequest(Order order, Context context) {
        order.setAmount(order.getAmount() + ++calls);
        return order;
    }
}
